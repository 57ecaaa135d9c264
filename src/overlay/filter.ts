// The map's packet filter, enforced on what comes out of the tunnel. New flows need a rule; answers to flows of our own pass; all else is
// denied.
//
// TCP needs no table here: a segment that belongs to a connection of the stack is an answer or was admitted at its SYN, and to every other
// the stack says RST. So TCP is judged where a SYN asks for a listener (`admitsTcp`). UDP and ICMP are judged packet by packet.
import { type IpAddress, type IpPrefix, prefixContains } from '#lib/ip.ts';
import { admitsInbound, closedFilter, type PacketFilter, type PacketRule } from '#model/network-map.ts';
import { emptyFragment, readFragment } from '#wire/fragment.ts';
import { emptyIpHeader, type IpHeader, type IpVerdict, PROTOCOL, readIpv4 } from '#wire/ipv4.ts';
import { readIpv6 } from '#wire/ipv6.ts';
import { FLOW_LIFETIME_MS, FORWARDER_PORTS, MAX_TRACKED_FLOWS } from './constants.ts';

const echoTypes = { v4: { request: 8, reply: 0 }, v6: { request: 128, reply: 129 } } as const;
const forwarderPorts: readonly number[] = FORWARDER_PORTS;
/** Errors quote the packet they are about; the stack believes them only for connections it has. */
const errorTypes = { v4: [3, 11, 12], v6: [1, 2, 3, 4] } as const;

/** What the filter must know of the networks that this peer carries for others. */
export interface CarriedJudge {
  carries(bytes: Uint8Array, at: number, family: 4 | 6): boolean;
  /** Whether the peer may ask here what a routed name stands for. */
  maySendQuestions(from: IpAddress): boolean;
}

export class OverlayFilter {
  readonly #header: IpHeader = emptyIpHeader();
  readonly #fragment = emptyFragment();
  /** Flow → when it is forgotten, in order of that time. */
  readonly #flows = new Map<string, number>();
  #filter: PacketFilter = closedFilter;
  /** Rules by the one address they name, and those that name none or many. */
  #byHost = new Map<string, PacketRule[]>();
  #wide: readonly PacketRule[] = [];
  /** Rules that forbid us to speak to somebody. What forbids nothing says nothing: the other side decides whom it lets in. */
  #outbound: readonly PacketRule[] = [];
  #carried: CarriedJudge | undefined;

  setCarried(judge: CarriedJudge): void {
    this.#carried = judge;
  }

  /** Replaces the rules. Flows of our own go on. */
  set(filter: PacketFilter): void {
    this.#filter = filter;
    this.#byHost = new Map();
    const wide: PacketRule[] = [];
    for (const rule of filter.kind === 'rules' ? filter.rules : []) {
      if (rule.direction !== 'in') continue;
      if (rule.peer === undefined || !isHost(rule.peer)) {
        wide.push(rule);
        continue;
      }
      const key = addressKey(rule.peer.address.bytes);
      const same = this.#byHost.get(key);
      if (same === undefined) this.#byHost.set(key, [rule]);
      else same.push(rule);
    }
    this.#wide = wide;
    this.#outbound = (filter.kind === 'rules' ? filter.rules : []).filter(({ direction, action }) => direction === 'out' && action === 'drop');
  }

  /** Whether `from` may open a TCP connection to our port. */
  admitsTcp(from: IpAddress, port: number): boolean {
    return this.#admits('tcp', from, port);
  }

  /** Whether `from` may begin to speak to our port. */
  admits(protocol: 'tcp' | 'udp', from: IpAddress, port: number): boolean {
    return this.#admits(protocol, from, port);
  }

  /** Whether a rule forbids us to begin to speak to that port of `to`. */
  forbids(protocol: 'tcp' | 'udp' | 'icmp', to: IpAddress, port: number): boolean {
    return this.#outbound.some(
      (rule) =>
        (rule.protocol === 'all' || rule.protocol === protocol) &&
        (rule.peer === undefined || prefixContains(rule.peer, to)) &&
        (rule.ports === undefined || (port >= rule.ports.start && port <= rule.ports.end)),
    );
  }

  /** Whether a packet from the tunnel may reach the stack. */
  admitsPacket(packet: Uint8Array, now: number): boolean {
    // The common case first: an IPv4 header without options that carries TCP.
    if (packet[0] === 0x45 && packet[9] === PROTOCOL.tcp) return true;
    const header = this.#read(packet);
    if (header === undefined) return false;
    switch (header.protocol) {
      case PROTOCOL.tcp:
        return true;
      case PROTOCOL.udp: {
        if (header.payloadEnd - header.payloadStart < 8) return false;
        const remotePort = u16(packet, header.payloadStart);
        const localPort = u16(packet, header.payloadStart + 2);
        // Whoever carries the flow judges it: he knows those that go on.
        if (this.#carried?.carries(packet, header.destinationAt, header.family) === true) return true;
        return (
          this.#isAnswer(flowKey('u', packet, header.sourceAt, header, remotePort, localPort), now) ||
          this.#admits('udp', sourceOf(packet, header), localPort) ||
          (forwarderPorts.includes(localPort) && this.#carried?.maySendQuestions(sourceOf(packet, header)) === true)
        );
      }
      case PROTOCOL.icmp:
      case PROTOCOL.icmpv6:
        return this.#admitsIcmp(packet, header, now);
      default:
        return false;
    }
  }

  /** Remembers flows of our own, so that their answers pass. */
  noteOutbound(packet: Uint8Array, now: number): void {
    if (packet[0] === 0x45 && packet[9] === PROTOCOL.tcp) return;
    const header = this.#read(packet);
    if (header === undefined) return this.#noteFragment(packet, now);
    if (header.payloadEnd - header.payloadStart < 8) return;
    const at = header.payloadStart;
    if (header.protocol === PROTOCOL.udp) {
      this.#remember(flowKey('u', packet, header.destinationAt, header, u16(packet, at + 2), u16(packet, at)), now);
    } else if (header.protocol === (header.family === 4 ? PROTOCOL.icmp : PROTOCOL.icmpv6) && packet[at] === echoOf(header).request) {
      this.#remember(flowKey('i', packet, header.destinationAt, header, u16(packet, at + 4), 0), now);
    }
  }

  /** Whether a packet that was not admitted is a part of one: the whole is to be asked for when it is there. */
  isFragment(packet: Uint8Array): boolean {
    return this.#verdict(packet) === 'fragment';
  }

  /** Flows that are remembered, for the limit's test. */
  get flowCount(): number {
    return this.#flows.size;
  }

  #admitsIcmp(packet: Uint8Array, header: IpHeader, now: number): boolean {
    const type = packet[header.payloadStart];
    if (type === undefined || header.protocol !== (header.family === 4 ? PROTOCOL.icmp : PROTOCOL.icmpv6)) return false;
    if (header.payloadEnd - header.payloadStart < 8) return false;
    // We have no way to carry a ping, and what is said about a carried flow is not for us.
    if (this.#carried?.carries(packet, header.destinationAt, header.family) === true) return false;
    const echo = echoOf(header);
    if (type === echo.request) return this.#admits('icmp', sourceOf(packet, header), 0);
    if (type === echo.reply) return this.#isAnswer(flowKey('i', packet, header.sourceAt, header, u16(packet, header.payloadStart + 4), 0), now);
    const errors: readonly number[] = header.family === 4 ? errorTypes.v4 : errorTypes.v6;
    return errors.includes(type);
  }

  #admits(protocol: 'tcp' | 'udp' | 'icmp', from: IpAddress, port: number): boolean {
    if (this.#filter.kind === 'open') return true;
    const rules = this.#byHost.get(addressKey(from.bytes));
    return admitsInbound({ kind: 'rules', rules: rules === undefined ? this.#wide : [...this.#wide, ...rules] }, protocol, from, port);
  }

  /** A datagram of ours that leaves in pieces: the first of them names its ports. */
  #noteFragment(packet: Uint8Array, now: number): void {
    const part = this.#fragment;
    if (!this.isFragment(packet) || !readFragment(packet, part) || part.offset > 0 || part.protocol !== PROTOCOL.udp) return;
    const { dataStart: at, family } = part;
    if (part.dataEnd - at < 8) return;
    const address = { addressLength: family === 4 ? 4 : 16 };
    this.#remember(flowKey('u', packet, family === 4 ? 16 : 24, address, u16(packet, at + 2), u16(packet, at)), now);
  }

  #read(packet: Uint8Array): IpHeader | undefined {
    return this.#verdict(packet) === 'ok' ? this.#header : undefined;
  }

  #verdict(packet: Uint8Array): IpVerdict {
    return (packet[0] ?? 0) >> 4 === 6 ? readIpv6(packet, this.#header) : readIpv4(packet, this.#header);
  }

  #remember(key: string, now: number): void {
    this.#flows.delete(key);
    for (const [old, until] of this.#flows) {
      if (until > now && this.#flows.size < MAX_TRACKED_FLOWS) break;
      this.#flows.delete(old);
    }
    this.#flows.set(key, now + FLOW_LIFETIME_MS);
  }

  #isAnswer(key: string, now: number): boolean {
    const until = this.#flows.get(key);
    return until !== undefined && until > now;
  }
}

function echoOf(header: IpHeader): { readonly request: number; readonly reply: number } {
  return header.family === 4 ? echoTypes.v4 : echoTypes.v6;
}

function sourceOf(packet: Uint8Array, header: IpHeader): IpAddress {
  return { family: header.family, bytes: packet.slice(header.sourceAt, header.sourceAt + header.addressLength) };
}

function flowKey(kind: 'u' | 'i', packet: Uint8Array, addressAt: number, header: Pick<IpHeader, 'addressLength'>, a: number, b: number): string {
  return `${kind}${addressKey(packet.subarray(addressAt, addressAt + header.addressLength))} ${a} ${b}`;
}

function addressKey(bytes: Uint8Array): string {
  return bytes.join('.');
}

function isHost(prefix: IpPrefix): boolean {
  return prefix.bits === (prefix.address.family === 4 ? 32 : 128);
}

function u16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}
