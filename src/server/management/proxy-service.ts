// ProxyService: what gateways call, ours and stock ones. Sign-in by PIN, password or NetBird's own session tokens is not offered:
// those calls get a clear no, and a gateway that asks denies.
import { type Call, defineService, type RpcService } from '#rpc/method.ts';
import { describeError } from '#lib/errors.ts';
import { asId, parsePublicKey, type ServiceId } from '#model/ids.ts';
import type { ServiceMapping } from '#model/service.ts';
import { accessVersion } from '#model/access.ts';
import { streamVersion } from '#model/stream.ts';
import { webVersion } from '#model/web.ts';
import { type ProxyCapabilities, ProxyService, type SyncMappingsRequest } from '#wire/proto/gen/proxy_service_pb.ts';
import { heartbeatMs, initMs, maxLogText } from './constants.ts';
import { managementError } from './errors.ts';
import { addAccessLogs } from './access-logs.ts';
import { clusterFrom, GatewayCallers, proxyIdFrom } from './calling-gateway.ts';
import type { Gateways } from './gateways.ts';
import { type MappingMessage, MappingStream } from './mapping-stream.ts';
import type { ManagementDeps, ManagementDomain } from './options.ts';
import type { TokenGuard } from './token-guard.ts';
import { cut, type KnownExtensions, stateOf } from './translate-proxy.ts';
import { needsAccessExtension } from './translate-access.ts';
import { needsStreamExtension } from './translate-stream.ts';
import { needsWebExtension } from './translate-web.ts';

/** The answer of both kinds of stream. */
interface Batch {
  readonly mapping: MappingMessage[];
  readonly initialSyncComplete: boolean;
}

/** What both kinds of stream begin with. */
interface Opening {
  readonly proxyId: string;
  readonly version: string;
  readonly address: string;
  readonly capabilities?: ProxyCapabilities;
}

export function createProxyService(domain: ManagementDomain, gateways: Gateways, tokens: TokenGuard, deps: ManagementDeps): RpcService {
  const callers = new GatewayCallers(tokens, gateways);

  async function serve(opening: Opening, call: Call, send: (batch: Batch) => Promise<void>, acks: AsyncIterable<unknown> | undefined): Promise<void> {
    const token = await tokens.check(call);
    const cluster = clusterFrom(opening.address);
    // Before it can end an older stream of its name. A token that belongs nowhere yet is bound when it is told of as connected.
    if (token.cluster !== undefined && token.cluster !== cluster) throw managementError('MANAGEMENT_CLUSTER_WRONG');
    const connection = {
      proxyId: proxyIdFrom(opening.proxyId),
      tokenId: token.id,
      cluster,
      version: cut(opening.version, 64),
      publicPort: opening.capabilities?.meshgatePublicPort || 443,
    };
    const stream = new MappingStream({
      connection,
      domain,
      clock: deps.clock,
      acknowledged: acks !== undefined,
      known: extensionsOf(opening.capabilities),
      serves: (mapping) => canServe(mapping, opening.capabilities),
      send: (mapping, initialSyncComplete) => send({ mapping: [...mapping], initialSyncComplete }),
    });
    gateways.add(stream);
    const beat = keepAlive(stream, call);
    try {
      await domain.clusters.proxyConnected(connection);
      deps.log.info('gateway connected', { proxy: connection.proxyId, cluster: connection.cluster });
      if (acks !== undefined) void drain(acks, stream);
      await stream.run(call.signal);
    } finally {
      beat.stop();
      if (gateways.remove(stream)) {
        deps.log.info('gateway disconnected', { proxy: connection.proxyId });
        await domain.clusters.proxyDisconnected(connection.proxyId);
      }
    }
  }

  /** Refreshes the record, and ends the stream where the token has expired meanwhile. */
  function keepAlive(stream: MappingStream, call: Call): { stop(): void } {
    const beat = async (): Promise<void> => {
      try {
        await tokens.check(call);
        await domain.clusters.proxyHeartbeat(stream.connection.proxyId);
      } catch (error) {
        if (error instanceof Error) stream.end(error);
      }
    };
    const again = (): void => {
      void beat();
      timer = deps.clock.after(heartbeatMs, again);
    };
    let timer = deps.clock.after(heartbeatMs, again);
    return { stop: () => timer.cancel() };
  }

  async function drain(acks: AsyncIterable<unknown>, stream: MappingStream): Promise<void> {
    try {
      for await (const _ack of acks) stream.acknowledge();
    } catch (error) {
      deps.log.debug('acknowledgements ended', { proxy: stream.connection.proxyId, reason: describeError(error) });
    }
  }

  function requireAccount(accountId: string): void {
    if (accountId !== domain.accountId) throw managementError('MANAGEMENT_ACCOUNT_WRONG');
  }

  return defineService(
    ProxyService,
    {
      syncMappings: async (requests, call, answers) => {
        const iterator = requests[Symbol.asyncIterator]();
        const opening = await firstOf(iterator, deps);
        await serve(opening, call, (batch) => answers.send(batch), { [Symbol.asyncIterator]: () => iterator });
      },
      getMappingUpdate: (request, call, answers) => serve(openingOf(request), call, (batch) => answers.send(batch), undefined),
      createProxyPeer: async (request, call) => {
        requireAccount(request.accountId);
        const caller = await callers.gatewayOf(call, request.cluster);
        const publicKey = parsePublicKey(request.wireguardPublicKey);
        if (publicKey === undefined) throw managementError('MANAGEMENT_KEY_INVALID');
        await domain.peers.registerProxyPeer({
          oneTimeToken: request.token,
          serviceId: asId<ServiceId>(request.serviceId),
          publicKey,
          ...caller,
        });
        return { success: true };
      },
      sendStatusUpdate: async (request, call) => {
        requireAccount(request.accountId);
        await domain.services.reportStatus({
          serviceId: asId<ServiceId>(request.serviceId),
          ...(await callers.gatewayOf(call)),
          status: { state: stateOf(request.status), reason: cut(request.errorMessage ?? '', maxLogText) },
          certificateIssued: request.certificateIssued,
        });
        return {};
      },
      sendAccessLog: async ({ log }, call) => {
        if (log === undefined) return {};
        requireAccount(log.accountId);
        await addAccessLogs([log], await callers.clusterOf(call), domain, deps);
        return {};
      },
      authenticate: () => Promise.resolve({ success: false }),
      getOIDCURL: () => Promise.reject(managementError('MANAGEMENT_METHOD_NONE')),
      validateSession: () => Promise.resolve({ valid: false, deniedReason: 'user_not_found' }),
      validateTunnelPeer: () => Promise.resolve({ valid: false, deniedReason: 'peer_not_found' }),
    },
    tokens.guard,
  );
}

/** The first message says who the gateway is; it must come soon. */
async function firstOf(iterator: AsyncIterator<SyncMappingsRequest>, deps: ManagementDeps): Promise<Opening> {
  const late = Promise.withResolvers<never>();
  const timer = deps.clock.after(initMs, () => late.reject(managementError('MANAGEMENT_PROXY_INVALID')));
  try {
    const first = await Promise.race([iterator.next(), late.promise]);
    if (first.done === true || first.value.msg.case !== 'init') throw managementError('MANAGEMENT_PROXY_INVALID');
    return openingOf(first.value.msg.value);
  } finally {
    timer.cancel();
  }
}

function openingOf(message: Omit<Opening, 'capabilities'> & { readonly capabilities?: ProxyCapabilities | undefined }): Opening {
  const { proxyId, version, address, capabilities } = message;
  return { proxyId, version, address, ...(capabilities === undefined ? {} : { capabilities }) };
}

function extensionsOf(capabilities: ProxyCapabilities | undefined): KnownExtensions {
  return {
    web: (capabilities?.meshgateWeb ?? 0) >= webVersion,
    access: (capabilities?.meshgateAccess ?? 0) >= accessVersion,
    stream: (capabilities?.meshgateStream ?? 0) >= streamVersion,
  };
}

/** What a gateway could only serve in part is not sent to it. Private services and ports of one's own go only to gateways that said they can. */
function canServe(mapping: ServiceMapping, capabilities: ProxyCapabilities | undefined): boolean {
  const known = extensionsOf(capabilities);
  if (needsWebExtension(mapping) && !known.web) return false;
  if (needsAccessExtension(mapping) && !known.access) return false;
  if (needsStreamExtension(mapping) && !known.stream) return false;
  // On the port of HTTPS.
  if (mapping.mode === 'tls' && mapping.listenPort === undefined && !known.stream) return false;
  if (mapping.private && capabilities?.supportsPrivateService !== true) return false;
  const ownPort = mapping.listenPort !== undefined && mapping.mode !== 'http' && mapping.mode !== 'tls';
  return !ownPort || capabilities?.supportsCustomPorts === true;
}
