// ICE candidates: their text on the signal (RFC 8839 §5.1) and their priorities (RFC 8445 §5.1.2, §6.1.2.3).
import { formatIp, parseIp, unmapIp } from '#lib/ip.ts';
import type { RelayBase, TransportAddress } from './path.ts';

export type CandidateKind = 'host' | 'srflx' | 'prflx' | 'relay';

export interface Candidate extends TransportAddress {
  readonly kind: CandidateKind;
  readonly priority: number;
  readonly foundation: string;
  /** Of our own relayed candidates: the relay that they leave from. All others share the socket. */
  readonly base?: RelayBase;
}

const typePreference: Readonly<Record<CandidateKind, number>> = { host: 126, prflx: 110, srflx: 100, relay: 0 };
/** In the place of a candidate: there are no more (RFC 8838 §14). */
export const endOfCandidates = 'end-of-candidates';
const maxTextLength = 512;

/** The priority of a candidate for the only component. `localPreference` is 0–65535, larger is better. */
export function candidatePriority(kind: CandidateKind, localPreference: number): number {
  return typePreference[kind] * 0x100_0000 + localPreference * 0x100 + 255;
}

/** The priority of a pair, equal at both ends; `controlling` is the priority of the controlling side's candidate. */
export function pairPriority(controlling: number, controlled: number): bigint {
  const low = BigInt(Math.min(controlling, controlled));
  const high = BigInt(Math.max(controlling, controlled));
  return (low << 32n) + 2n * high + (controlling > controlled ? 1n : 0n);
}

/** A local candidate; the address must be canonical text. */
export function localCandidate(kind: CandidateKind, at: TransportAddress, localPreference: number): Candidate {
  const family = at.address.includes(':') ? 6 : 4;
  return {
    kind,
    address: at.address,
    port: at.port,
    priority: candidatePriority(kind, localPreference),
    foundation: `${kind}${family}${isLoopback(at.address) ? 'l' : ''}`,
  };
}

export function formatCandidate(candidate: Candidate): string {
  const { foundation, priority, address, port, kind } = candidate;
  const base = `${foundation} 1 udp ${priority} ${address} ${port} typ ${kind}`;
  // A reflexive candidate must name a base; which one is nobody's business.
  return kind === 'host' ? base : `${base} raddr ${address.includes(':') ? '::' : '0.0.0.0'} rport 0`;
}

/**
 * Reads a candidate; undefined for another component or transport than UDP, for a name in the place of an address, and for addresses
 * that no peer can have (unspecified, multicast, broadcast, link-local). Extensions are ignored.
 */
export function parseCandidate(text: string): Candidate | undefined {
  if (text.length > maxTextLength) return undefined;
  const [foundation, component, transport, priorityText, addressText, portText, typ, kind] = text.replace(/^(?:a=)?candidate:/, '').split(' ');
  if (foundation === undefined || foundation === '' || component !== '1' || transport?.toLowerCase() !== 'udp' || typ !== 'typ') return undefined;
  if (kind !== 'host' && kind !== 'srflx' && kind !== 'prflx' && kind !== 'relay') return undefined;
  const priority = whole(priorityText, 0xffff_ffff);
  const port = whole(portText, 65_535);
  const address = usableAddress(addressText ?? '');
  if (priority === undefined || port === undefined || port === 0 || address === undefined) return undefined;
  return { kind, address, port, priority, foundation };
}

/** The address in canonical text where a datagram may be sent to it; undefined otherwise. */
export function usableAddress(text: string): string | undefined {
  const parsed = parseIp(text);
  if (parsed === undefined) return undefined;
  const ip = unmapIp(parsed);
  const [first = 0, second = 0] = ip.bytes;
  if (ip.family === 4) return first === 0 || first >= 224 || (first === 169 && second === 254) ? undefined : formatIp(ip);
  const unspecified = ip.bytes.every((byte) => byte === 0);
  return unspecified || first === 0xff || (first === 0xfe && (second & 0xc0) === 0x80) ? undefined : formatIp(ip);
}

export function isLoopback(address: string): boolean {
  return address === '::1' || address.startsWith('127.');
}

function whole(text: string | undefined, max: number): number | undefined {
  if (text === undefined || !/^[0-9]{1,10}$/.test(text)) return undefined;
  const value = Number(text);
  return value <= max ? value : undefined;
}
