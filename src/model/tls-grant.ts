// What the control plane gives an agent at which TLS of services ends.
import type { ProxyId, PublicKey } from './ids.ts';

/** The overlay port at which such an agent takes visitors from gateways; nothing else can be published there. */
export const agentTlsPort = 44_443;

export interface TlsGrant {
  /** A gateway's token, for `cluster` alone. */
  readonly token: string;
  readonly cluster: string;
  readonly proxyId: ProxyId;
  /** Who may bring visitors. */
  readonly gateways: readonly PublicKey[];
}
