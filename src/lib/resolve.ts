// Name resolution for everything that connects: RFC 6761 §6.3 names under localhost are loopback, whatever the system's resolver thinks.
import { lookup } from 'node:dns/promises';
import { parseIp } from './ip.ts';

/** Addresses of a host, IPv4 first for localhost names. Rejects with Node's ENOTFOUND. */
export async function resolveHost(host: string): Promise<readonly string[]> {
  const name = host.toLowerCase().replace(/\.$/, '');
  if (parseIp(name) !== undefined) return [name];
  if (isLocalhostName(name)) return ['127.0.0.1', '::1'];
  const found = await lookup(name, { all: true });
  return found.map((entry) => entry.address);
}

/** `localhost` and every name below it. */
export function isLocalhostName(host: string): boolean {
  const name = host.toLowerCase().replace(/\.$/, '');
  return name === 'localhost' || name.endsWith('.localhost');
}
