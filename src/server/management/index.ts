// The services that peers and gateways call, over the domain: register them with a server of rpc/.
import type { Closable } from '#lib/lifecycle.ts';
import type { PublicKey } from '#model/ids.ts';
import type { KeptReport } from '#model/path-report.ts';
import type { RpcService } from '#rpc/method.ts';
import { relayRenewShare } from './constants.ts';
import { Envelopes } from './envelopes.ts';
import { managementError } from './errors.ts';
import { createExposeService } from './expose-service.ts';
import { createGatewayService } from './gateway-service.ts';
import { Gateways } from './gateways.ts';
import type { ManagementDeps, ManagementDomain, ManagementOptions } from './options.ts';
import { createPeerService } from './peer-service.ts';
import { PathReports } from './path-reports.ts';
import { createProxyService } from './proxy-service.ts';
import { createReportService } from './report-service.ts';
import { Strangers } from './strangers.ts';
import { SyncStreams } from './sync-streams.ts';
import { createTlsService } from './tls-service.ts';
import { TokenGuard } from './token-guard.ts';

export type { ManagementDeps, ManagementDomain, ManagementOptions } from './options.ts';

export interface ManagementServices extends Closable {
  readonly services: readonly RpcService[];
  /** Peers whose Sync stream is open. */
  connectedPeers(): number;
  /** Gateways whose mapping stream is open. */
  connectedGateways(): number;
  /** What a connected peer last said of its paths. */
  pathsOf(peer: PublicKey): KeptReport | undefined;
}

/** Subscribes to the domain's changes until closed. Throws MANAGEMENT_KEY_PAIR. */
export function createManagementServices(domain: ManagementDomain, options: ManagementOptions, deps: ManagementDeps): ManagementServices {
  if (options.privateKey.length !== 32) throw managementError('MANAGEMENT_KEY_PAIR');
  const streams = new SyncStreams();
  const reports = new PathReports(deps.clock);
  const gateways = new Gateways();
  const strangers = new Strangers(() => deps.clock.now());
  const envelopes = new Envelopes(options.privateKey, strangers);
  const tokens = new TokenGuard(domain.tokens, deps.clock);
  const unsubscribe = domain.changes.subscribe((change) => {
    switch (change.kind) {
      case 'network':
        return streams.mapChanged(change.peers);
      case 'peer-removed':
        strangers.forget(change.publicKey);
        return streams.peerRemoved(change.publicKey);
      case 'peer-expired':
        return streams.loginExpired(change.publicKey);
      case 'service-set':
      case 'service-removed':
        return gateways.serviceChanged(change.serviceId, change.cluster);
      case 'proxy-token-revoked':
        return tokens.revoke(change.tokenId);
      case 'revocation':
        return undefined; // the revocation streams listen for themselves
    }
  });
  const stopRenewing = renewRelayTokens(streams, options, deps);
  return {
    services: [
      createPeerService(domain, options, { streams, strangers, reports, envelopes }, deps),
      createExposeService(domain.exposures, envelopes),
      createProxyService(domain, gateways, tokens, deps),
      createGatewayService(domain, options, gateways, tokens, deps),
      createTlsService({ doors: domain.agentDoors, envelopes, isConnected: (peer) => streams.has(peer) }),
      createReportService({ privateKey: options.privateKey, isConnected: (peer) => streams.has(peer), reports }),
    ],
    connectedPeers: () => streams.size,
    connectedGateways: () => gateways.size,
    pathsOf: (peer) => reports.of(peer),
    close: () => {
      unsubscribe();
      stopRenewing();
      return Promise.resolve();
    },
  };
}

/** Tells every peer its meeting points again, with a fresh token, long before the old one is over. */
function renewRelayTokens(streams: SyncStreams, options: ManagementOptions, deps: ManagementDeps): () => void {
  const everyMs = options.relayTokenMs === undefined ? undefined : options.relayTokenMs * relayRenewShare;
  if (everyMs === undefined) return () => undefined;
  const renew = (): void => {
    streams.endpointsChanged();
    timer = deps.clock.after(everyMs, renew);
  };
  let timer = deps.clock.after(everyMs, renew);
  return () => timer.cancel();
}
