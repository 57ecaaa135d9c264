// The services that peers and gateways call, over the domain: register them with a server of rpc/.
import type { Closable } from '#lib/lifecycle.ts';
import type { RpcService } from '#rpc/method.ts';
import { relayRenewShare } from './constants.ts';
import { managementError } from './errors.ts';
import type { ManagementDeps, ManagementDomain, ManagementOptions } from './options.ts';
import { createPeerService } from './peer-service.ts';
import { SyncStreams } from './sync-streams.ts';

export type { AuthorizationFlow, ManagementDeps, ManagementDomain, ManagementOptions } from './options.ts';

export interface ManagementServices extends Closable {
  readonly services: readonly RpcService[];
  /** Peers whose Sync stream is open. */
  connectedPeers(): number;
}

/** Subscribes to the domain's changes until closed. Throws MANAGEMENT_KEY_PAIR. */
export function createManagementServices(domain: ManagementDomain, options: ManagementOptions, deps: ManagementDeps): ManagementServices {
  if (options.privateKey.length !== 32) throw managementError('MANAGEMENT_KEY_PAIR');
  const streams = new SyncStreams();
  const peers = createPeerService(domain, options, streams, deps);
  const unsubscribe = domain.changes.subscribe((change) => {
    if (change.kind === 'network') streams.mapChanged(change.peers);
    else if (change.kind === 'peer-removed') streams.peerRemoved(change.publicKey);
  });
  const stopRenewing = renewRelayTokens(streams, options, deps);
  return {
    services: [peers],
    connectedPeers: () => streams.size,
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
