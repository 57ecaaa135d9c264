// The one dial type: forwarders never learn whether they dial the overlay, the host's network or a test's memory.
import type { Duplex } from 'node:stream';
import { parseIp } from './ip.ts';

/** A TCP target: an IP literal or a name that the dialler resolves, and a port 1–65535. */
export interface DialTarget {
  readonly host: string;
  readonly port: number;
}

export interface DialOptions {
  /** Aborting rejects the dial; an established stream is not affected. */
  readonly signal: AbortSignal;
}

/**
 * Opens a TCP stream to the target. The stream is half-open capable (`allowHalfOpen`): `end()` sends FIN, `destroy()` resets.
 * Rejects with an error whose `code` is Node's (`ECONNREFUSED`, `ETIMEDOUT`, `EHOSTUNREACH`, `ECONNRESET`, `ABORT_ERR`).
 */
export type Dial = (target: DialTarget, options: DialOptions) => Promise<Duplex>;

/** An address as text and its port: where a connection came from. */
export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/** A connection's two ends, as its client sees them. */
export interface Ends {
  readonly remote: Endpoint;
  readonly local: Endpoint;
}

/** UDP with one remote end. */
export interface UdpFlow {
  /** Best effort; the bytes are valid only during the call. */
  send(bytes: Uint8Array): void;
  /** The same for a run: datagrams back to back, each `size` bytes long, the last may be shorter. Where it is missing, each is sent. */
  sendRun?(run: Uint8Array, size: number): void;
  close(): void;
}

/**
 * Opens one to an address. `received` gets datagrams from that end, valid only during the call; `failed` says that there will be none. Neither is
 * called within the call, or after `close`. With `receivedRun` datagrams that come together may come as a run.
 */
export type OpenUdpFlow = (
  to: Endpoint,
  received: (bytes: Uint8Array) => void,
  failed: () => void,
  receivedRun?: (run: Uint8Array, size: number) => void,
) => UdpFlow;

/** Sends a run, as one where that can be. */
export function sendRun(flow: UdpFlow, run: Uint8Array, size: number): void {
  if (size >= run.length) flow.send(run);
  else if (flow.sendRun !== undefined) flow.sendRun(run, size);
  else for (let at = 0; at < run.length; at += size) flow.send(run.subarray(at, at + size));
}

/** `host:port` with brackets around IPv6. */
export function formatHostPort(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Splits `host:port`, `[v6]:port` or a bare host with the default port; undefined where the port is not 0–65535 or the host is empty. */
export function parseHostPort(text: string, defaultPort?: number): DialTarget | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+))(?::([0-9]{1,5}))?$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  if (host === undefined || (match?.[1] !== undefined && parseIp(host)?.family !== 6)) return undefined;
  const port = match?.[3] === undefined ? defaultPort : Number(match[3]);
  return port === undefined || port > 65_535 ? undefined : { host, port };
}
