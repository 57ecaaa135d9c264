// What the gateway dials itself, without the mesh, because a target says so: its own network and its own machine, never where clouds keep
// their secrets. A name is resolved once, and what it was judged by is what is dialled.
import { formatIp, parseIp } from '#lib/ip.ts';
import type { Dial, OpenUdpFlow } from '#lib/net.ts';
import { resolveHost } from '#lib/resolve.ts';
import { specialRange } from '#lib/special-addresses.ts';
import { gatewayError } from './errors.ts';

type Resolve = (host: string) => Promise<readonly string[]>;

function mayDial(address: string): boolean {
  const ip = parseIp(address);
  if (ip === undefined) return false;
  const text = formatIp(ip);
  return text.startsWith('127.') || text === '::1' || specialRange(ip) === undefined;
}

/**
 * The addresses of a host that may be dialled: loopback is, as an application beside the gateway is what such targets are for; link-local,
 * metadata services, unspecified, multicast and IPv4 in disguise are not. GATEWAY_TARGET_SPECIAL where none is left.
 */
async function directAddresses(host: string, resolve: Resolve): Promise<readonly string[]> {
  const found = parseIp(host) === undefined ? await resolve(host) : [host];
  const allowed = found.filter(mayDial);
  if (allowed.length === 0) throw gatewayError('GATEWAY_TARGET_SPECIAL', host);
  return allowed;
}

/** `dial` for these addresses only, one after the other. Rejects with the last one's error. */
export function guardDirect(dial: Dial, resolve: Resolve = resolveHost): Dial {
  return async ({ host, port }, options) => {
    options.signal.throwIfAborted();
    let failure: unknown;
    for (const address of await directAddresses(host, resolve)) {
      try {
        return await dial({ host: address, port }, options);
      } catch (error) {
        options.signal.throwIfAborted();
        failure = error;
      }
    }
    throw failure;
  };
}

/** The same for UDP to addresses: a flow to another fails at once and sends nothing. */
export function guardDirectUdp(open: OpenUdpFlow): OpenUdpFlow {
  return (to, received, failed, receivedRun) => {
    if (mayDial(to.address)) return open(to, received, failed, receivedRun);
    queueMicrotask(failed);
    return { send: () => undefined, close: () => undefined };
  };
}
