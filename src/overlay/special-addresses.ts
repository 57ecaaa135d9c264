// Addresses that mean something else on every host: nobody is carried there unless a route names them, and no name may lead there.
import { type IpAddress, type IpPrefix, parsePrefix, prefixContains } from '#lib/ip.ts';

const ranges: readonly IpPrefix[] = [
  '0.0.0.0/8',
  '127.0.0.0/8',
  // Link-local, where clouds keep their secrets.
  '169.254.0.0/16',
  '224.0.0.0/4',
  '240.0.0.0/4',
  '::/127',
  '::ffff:0:0/96',
  'fe80::/10',
  'ff00::/8',
].flatMap((text) => parsePrefix(text) ?? []);

/** The range that makes the address special: loopback, link-local, multicast, unspecified, reserved, or IPv4 in disguise. */
export function specialRange(ip: IpAddress): IpPrefix | undefined {
  return ranges.find((range) => prefixContains(range, ip));
}

/** Whether everything in `inner` is in `outer`. */
export function isInside(inner: IpPrefix, outer: IpPrefix): boolean {
  return inner.bits >= outer.bits && prefixContains(outer, inner.address);
}
