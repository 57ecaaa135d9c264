// Which flows between peers are permitted: rules, and the decision over them.
import { prefixContains, type IpAddress, type IpPrefix } from '#lib/ip.ts';

export type PacketProtocol = 'all' | 'tcp' | 'udp' | 'icmp';

export interface PortRange {
  readonly start: number;
  readonly end: number;
}

/** One inbound or outbound permission. `peer` undefined means any address, `ports` undefined any port. */
export interface PacketRule {
  readonly direction: 'in' | 'out';
  readonly action: 'accept' | 'drop';
  readonly protocol: PacketProtocol;
  readonly peer: IpPrefix | undefined;
  readonly ports: PortRange | undefined;
}

/** `open` is what a control plane without policies says; a list, the empty one too, denies what it does not accept. */
export type PacketFilter = { readonly kind: 'open' } | { readonly kind: 'rules'; readonly rules: readonly PacketRule[] };

/** A filter that lets nothing in: what holds before the first map. */
export const closedFilter: PacketFilter = { kind: 'rules', rules: [] };

/** Whether a new inbound flow may start. Drop rules win over accept rules; nothing listed is denied. */
export function admitsInbound(filter: PacketFilter, protocol: 'tcp' | 'udp' | 'icmp', from: IpAddress, port: number): boolean {
  if (filter.kind === 'open') return true;
  const matching = filter.rules.filter(
    (rule) =>
      rule.direction === 'in' &&
      (rule.protocol === 'all' || rule.protocol === protocol) &&
      (rule.peer === undefined || prefixContains(rule.peer, from)) &&
      (rule.ports === undefined || (port >= rule.ports.start && port <= rule.ports.end)),
  );
  return matching.length > 0 && matching.every((rule) => rule.action === 'accept');
}
