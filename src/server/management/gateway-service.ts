// GatewayService, our own extension: sessions that the control plane keeps, and the stream of what ends trust.
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Timer } from '#lib/clock.ts';
import { errorCode, MeshgateError } from '#lib/errors.ts';
import { asId, parsePublicKey, type ServiceId, type SessionId } from '#model/ids.ts';
import { type Answers, type Call, defineService, type RpcService } from '#rpc/method.ts';
import {
  type CreateSessionRequest,
  type CreateSessionResponseSchema,
  GatewayService,
  type WatchRevocationsResponseSchema,
} from '#wire/proto/gen/meshgate_pb.ts';
import { addAccessLogs } from './access-logs.ts';
import { GatewayCallers } from './calling-gateway.ts';
import { certificateCalls } from './certificate-calls.ts';
import { maxAccessLogs, maxGatewayStreams, maxQueuedRevocations, maxSecretText, peersChangedMs, revocationHeartbeatMs } from './constants.ts';
import { managementError } from './errors.ts';
import type { Gateways } from './gateways.ts';
import type { ManagementDeps, ManagementDomain, ManagementOptions } from './options.ts';
import { Outbox } from './outbox.ts';
import { deviceCalls } from './device-calls.ts';
import { proofCalls } from './proof-calls.ts';
import type { TokenGuard } from './token-guard.ts';
import { cut, identityOf, revocationOf, sessionOf } from './translate-proxy.ts';

type RevocationMessage = MessageInitShape<typeof WatchRevocationsResponseSchema>;

/** What waits for a gateway that watches; with a cluster, only where that is the gateway's. */
interface Notice {
  readonly message: RevocationMessage;
  readonly cluster: string | undefined;
}

export function createGatewayService(
  domain: ManagementDomain,
  options: ManagementOptions,
  gateways: Gateways,
  tokens: TokenGuard,
  deps: ManagementDeps,
): RpcService {
  const callers = new GatewayCallers(tokens, gateways);
  let watchers = 0;

  async function createSession(request: CreateSessionRequest, call: Call): Promise<MessageInitShape<typeof CreateSessionResponseSchema>> {
    const cluster = await callers.clusterOf(call, request.cluster);
    if (request.idToken.length > maxSecretText || request.nonce.length > maxSecretText) throw managementError('MANAGEMENT_SECRET_TOO_LONG');
    const { clientId } = await options.relyingParty(cluster);
    try {
      const { userId, signIn, methods } = await options.verifyIdToken(request.idToken, request.nonce, clientId);
      const origin = { signIn, methods, address: cut(request.address, 64), userAgent: cut(request.userAgent, 256) };
      const previous = request.previousSessionId === '' ? undefined : asId<SessionId>(request.previousSessionId);
      const session = await domain.sessions.create(asId<ServiceId>(request.serviceId), userId, cluster, origin, previous);
      return { result: { case: 'session', value: sessionOf(session, deps.clock.wall()) } };
    } catch (error) {
      const refused = refusalOf(error);
      if (refused === undefined) throw error;
      deps.log.info('sign-in refused', { service: request.serviceId, reason: refused });
      return { result: { case: 'refused', value: refused } };
    }
  }

  async function watch(call: Call, answers: Answers<RevocationMessage>): Promise<void> {
    if (watchers >= maxGatewayStreams) throw managementError('MANAGEMENT_BUSY');
    watchers += 1;
    const outbox = new Outbox<Notice>(maxQueuedRevocations);
    // Many changes come together, and each says the same.
    let told: Timer | undefined;
    const peersChanged = (): void => {
      told ??= deps.clock.after(peersChangedMs, () => {
        told = undefined;
        outbox.put({ message: { event: { case: 'peersChanged', value: {} } }, cluster: undefined });
      });
    };
    const unsubscribe = domain.changes.subscribe((change) => {
      if (change.kind === 'network' || change.kind === 'peer-removed' || change.kind === 'peer-expired') return peersChanged();
      if (change.kind !== 'revocation') return;
      const message = { ...revocationOf(change.revocation), at: BigInt(Math.trunc(deps.clock.wall())) };
      outbox.put({ message, cluster: change.cluster });
    });
    let own: string | undefined;
    const expired = new AbortController();
    const beat = (): void => {
      tokens.check(call).catch((error: unknown) => expired.abort(error)); // the stream must not outlive the token
      outbox.put({ message: { event: { case: 'heartbeat', value: {} } }, cluster: undefined });
      timer = deps.clock.after(revocationHeartbeatMs, beat);
    };
    let timer = deps.clock.after(revocationHeartbeatMs, beat);
    const signal = AbortSignal.any([call.signal, expired.signal]);
    try {
      await answers.send({ event: { case: 'ready', value: {} } });
      for (;;) {
        const next = await outbox.take(signal);
        if (expired.signal.aborted) throw expired.signal.reason;
        if (next === 'ended') return;
        if (next === 'overflow') throw managementError('MANAGEMENT_PROXY_SLOW');
        const { message, cluster } = next.item;
        // Asked each time while the token belongs nowhere: a gateway opens its streams side by side.
        if (cluster !== undefined) own ??= (await tokens.check(call)).cluster;
        if (cluster === undefined || cluster === own) await answers.send(message);
      }
    } finally {
      watchers -= 1;
      timer.cancel();
      told?.cancel();
      unsubscribe();
    }
  }

  return defineService(
    GatewayService,
    {
      relyingParty: async (request, call) => {
        const { issuer, clientId, clientSecret, stateKey } = await options.relyingParty(await callers.clusterOf(call, request.cluster));
        return { issuer, clientId, clientSecret, stateKey };
      },
      createSession: (request, call) => createSession(request, call),
      findSession: async (request, call) => {
        const cluster = await callers.clusterOf(call);
        const found = await domain.sessions.find(asId<SessionId>(request.sessionId), asId<ServiceId>(request.serviceId), cluster);
        return 'session' in found
          ? { result: { case: 'session', value: sessionOf(found.session, deps.clock.wall()) } }
          : { result: { case: 'missing', value: found.missing } };
      },
      endSession: async (request, call) => {
        await domain.sessions.end(asId<SessionId>(request.sessionId), await callers.clusterOf(call));
        return {};
      },
      verifyServiceToken: async (request, call) => {
        const cluster = await callers.clusterOf(call);
        if (request.token.length > maxSecretText) return { result: { case: 'denied', value: 'token_invalid' } };
        const checked = await domain.sessions.verifyServiceToken(request.token, asId<ServiceId>(request.serviceId), cluster);
        return 'identity' in checked
          ? { result: { case: 'identity', value: identityOf(checked.identity) } }
          : { result: { case: 'denied', value: checked.denied } };
      },
      verifyPeer: async (request, call) => {
        const cluster = await callers.clusterOf(call);
        const key = parsePublicKey(request.publicKey);
        if (key === undefined) return { result: { case: 'denied', value: 'token_invalid' } };
        const checked = await domain.visitors.verify(key, asId<ServiceId>(request.serviceId), cluster);
        return 'identity' in checked
          ? { result: { case: 'identity', value: identityOf(checked.identity) } }
          : { result: { case: 'denied', value: checked.denied } };
      },
      ...proofCalls(domain.proofs, deps.clock, (call) => callers.clusterOf(call)),
      ...deviceCalls(domain.devices, (call) => callers.clusterOf(call)),
      redeemDiagnosis: async (request, call) => {
        const cluster = await callers.clusterOf(call);
        if (request.token.length > maxSecretText) return { valid: false };
        return { valid: await domain.diagnoses.redeem(request.token, asId<ServiceId>(request.serviceId), cluster) };
      },
      sendAccessLogs: async ({ logs }, call) => {
        if (logs.length > maxAccessLogs) throw managementError('MANAGEMENT_LOGS_TOO_MANY');
        if (logs.some(({ accountId }) => accountId !== domain.accountId)) throw managementError('MANAGEMENT_ACCOUNT_WRONG');
        await addAccessLogs(logs, await callers.clusterOf(call), domain, deps);
        return {};
      },
      ...certificateCalls(domain.certificates, (call, cluster) => callers.gatewayOf(call, cluster)),
      watchRevocations: (_request, call, answers) => watch(call, answers),
    },
    tokens.guard,
  );
}

/** A no that the person who signs in has to be told; anything else is a failure of ours. */
function refusalOf(error: unknown): 'user_blocked' | 'group_not_allowed' | 'issuer_not_allowed' | 'token_invalid' | undefined {
  if (errorCode(error) === 'DOMAIN_USER_BLOCKED') return 'user_blocked';
  if (errorCode(error) === 'DOMAIN_GROUP_NOT_ALLOWED') return 'group_not_allowed';
  if (errorCode(error) === 'DOMAIN_ISSUER_NOT_ALLOWED') return 'issuer_not_allowed';
  const status = error instanceof MeshgateError ? error.row.status : 500;
  return status === 400 || status === 401 || status === 403 ? 'token_invalid' : undefined;
}
