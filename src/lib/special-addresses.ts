// Addresses that mean something else on every host: nobody is carried there unless a route names them, and no name may lead there.
import { type IpAddress, type IpPrefix, parsePrefix, prefixContains } from './ip.ts';

const ipv4: readonly (readonly [address: string, bits: number])[] = [
  ['0.0.0.0', 8],
  ['127.0.0.0', 8],
  // Link-local, where clouds keep their secrets.
  ['169.254.0.0', 16],
  // Clouds that keep them elsewhere: Alibaba, Azure, Oracle.
  ['100.100.100.200', 32],
  ['168.63.129.16', 32],
  ['192.0.0.192', 32],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
];

const ranges: readonly IpPrefix[] = [
  ...ipv4.map(([address, bits]) => `${address}/${bits}`),
  // The same behind a translator (NAT64, RFC 6052).
  ...ipv4.map(([address, bits]) => `64:ff9b::${address}/${96 + bits}`),
  '::/127',
  '::ffff:0:0/96',
  // Amazon's and Google's metadata by IPv6.
  'fd00:ec2::254/128',
  'fd20:ce::254/128',
  'fe80::/10',
  'ff00::/8',
].flatMap((text) => parsePrefix(text) ?? []);

/** The range that makes the address special: loopback, link-local, multicast, unspecified, reserved, a cloud's metadata service, or IPv4 in disguise. */
export function specialRange(ip: IpAddress): IpPrefix | undefined {
  return ranges.find((range) => prefixContains(range, ip));
}

/** Whether everything in `inner` is in `outer`. */
export function isInside(inner: IpPrefix, outer: IpPrefix): boolean {
  return inner.bits >= outer.bits && prefixContains(outer, inner.address);
}
