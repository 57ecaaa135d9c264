// Addresses, prefixes and keys from short texts.
import { type IpAddress, type IpPrefix, parseIp, parsePrefix } from '#lib/ip.ts';
import { type PublicKey, parsePublicKey } from '#model/ids.ts';

export function ip(text: string): IpAddress {
  const parsed = parseIp(text);
  if (parsed === undefined) throw new TypeError(text);
  return parsed;
}

export function prefix(text: string): IpPrefix {
  const parsed = parsePrefix(text);
  if (parsed === undefined) throw new TypeError(text);
  return parsed;
}

/** A public key that is this byte over and over. */
export function key(fill: number): PublicKey {
  const parsed = parsePublicKey(Buffer.alloc(32, fill).toString('base64'));
  if (parsed === undefined) throw new TypeError('key');
  return parsed;
}
