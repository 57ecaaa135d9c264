// HTTP to an issuer: a private authority may be trusted, names under localhost are loopback, answers are bounded in size and time.
import type { LookupFunction } from 'node:net';
import { getCACertificates } from 'node:tls';
import { resolveHost } from '#lib/resolve.ts';
import type { CustomFetch } from 'openid-client';
import { Agent, fetch as undiciFetch, type RequestInit as UndiciRequest } from 'undici';
import { oidcBodyBytes, oidcRequestMs } from './constants.ts';

export interface IssuerFetch {
  readonly fetch: CustomFetch;
  /** Closes idle connections and waits for requests under way, which end by their deadlines. */
  close(): Promise<void>;
}

/** `ca` is PEM and is trusted besides the system's authorities. */
export function createIssuerFetch(ca: string | undefined): IssuerFetch {
  const trusted = ca === undefined ? {} : { ca: [...getCACertificates('default'), ca] };
  const agent = new Agent({
    connect: { ...trusted, lookup, timeout: oidcRequestMs },
    connections: 4,
    headersTimeout: oidcRequestMs,
    bodyTimeout: oidcRequestMs,
    maxResponseSize: oidcBodyBytes,
  });
  return {
    async fetch(url, options) {
      const request: UndiciRequest = { ...(options as UndiciRequest), dispatcher: agent };
      return (await undiciFetch(url, request)) as unknown as Response;
    },
    close: () => agent.close(),
  };
}

const lookup: LookupFunction = (host, options, done) => {
  void answer(host, options.all === true, done);
};

/** Node's way of asking for addresses: all of them, or the first. */
async function answer(host: string, all: boolean, done: Parameters<LookupFunction>[2]): Promise<void> {
  try {
    const found = (await resolveHost(host)).map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
    const [first] = found;
    if (all || first === undefined) done(null, found);
    else done(null, first.address, first.family);
  } catch (error) {
    done(error as NodeJS.ErrnoException, '', 0);
  }
}
