// One peer of the lab: an overlay in a namespace, told by lines of JSON what to do, telling by lines what happens. A process of its own.
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { once } from 'node:events';
import { publicFromPrivate } from '#crypto/x25519.ts';
import { toBase64 } from '#lib/bytes.ts';
import { systemClock } from '#lib/clock.ts';
import { parsePrefix, type IpPrefix } from '#lib/ip.ts';
import { silentLogger } from '#lib/log.ts';
import { createLogger } from '#lib/log-writer.ts';
import { type PublicKey, parsePublicKey } from '#model/ids.ts';
import type { MeshEndpoints } from '#model/network-map.ts';
import type { SignalMessage } from '#model/signal.ts';
import { createOverlay, type Overlay, type SignalPort } from '#overlay/index.ts';
import { centerPorts, type SignalLine } from './center.ts';
import { peerPort } from './lab.ts';

export interface PeerStart {
  readonly privateKey: string;
  readonly peerKey: string;
  readonly own: string;
  readonly peer: string;
  readonly center: string;
  readonly endpoints: MeshEndpoints;
  /** Dials the peer and sends a line every so often, to measure gaps. */
  readonly dials: boolean;
}

/** What a peer tells. */
export type PeerEvent =
  | { readonly event: 'ready' }
  | { readonly event: 'path'; readonly kind: string; readonly remote: string; readonly atMs: number }
  | { readonly event: 'echo'; readonly atMs: number; readonly gapMs: number };

const lookMs = 5;
const echoMs = 25;

if (process.argv[2] === 'peer') await serve();

async function serve(): Promise<void> {
  const lines = createInterface({ input: process.stdin });
  const [first] = (await once(lines, 'line')) as [string];
  const start = JSON.parse(first) as PeerStart;
  const privateKey = Buffer.from(start.privateKey, 'base64');
  const publicKey = parsePublicKey(toBase64(publicFromPrivate(privateKey)));
  const peerKey = parsePublicKey(start.peerKey);
  if (publicKey === undefined || peerKey === undefined) throw new TypeError('keys');
  const overlay = await createOverlay(
    {
      signal: await openSignal(start.center, publicKey),
      log: process.env['LAB_LOG'] === undefined ? silentLogger : createLogger('debug', publicKey.slice(0, 4)),
      clock: systemClock,
    },
    { privateKey, listenPort: peerPort, version: 'test', ca: undefined },
  );
  overlay.accept(
    () => true,
    ({ stream }) => {
      stream.on('error', () => undefined);
      stream.on('data', (chunk: Buffer) => stream.write(chunk));
    },
  );
  overlay.setEndpoints(start.endpoints);
  tell({ event: 'ready' });
  await once(lines, 'line');
  const began = performance.now();
  overlay.apply({
    serial: 1n,
    self: { v4: prefix(`${start.own}/16`), v6: undefined, fqdn: 'self.mesh.test' },
    peers: [{ publicKey: peerKey, allowedIps: [prefix(`${start.peer}/32`)], fqdn: 'peer.mesh.test', agentVersion: 'test' }],
    filter: { kind: 'open' },
  });
  watch(overlay, began);
  if (start.dials) void echo(overlay, start.peer, began);
  lines.on('line', (line) => {
    if (line === 'refresh') overlay.refresh();
  });
  lines.on('close', () => process.exit(0));
}

/** Tells each change of the path. */
function watch(overlay: Overlay, began: number): void {
  let last = '';
  setInterval(() => {
    const path = overlay.status().peers[0]?.path;
    const text = path === undefined ? 'none' : `${path.kind} ${path.remote}`;
    if (text === last) return;
    last = text;
    tell({ event: 'path', kind: path?.kind ?? 'none', remote: path?.remote ?? '', atMs: Math.round(performance.now() - began) });
  }, lookMs);
}

/** Sends lines through one TCP connection of the overlay and tells when one comes back, and how long after the last. */
async function echo(overlay: Overlay, to: string, began: number): Promise<void> {
  const stream = await overlay.dial({ host: to, port: 7 }, { signal: AbortSignal.timeout(30_000) });
  let last = performance.now();
  stream.on('error', () => process.exit(3));
  createInterface({ input: stream }).on('line', () => {
    const now = performance.now();
    tell({ event: 'echo', atMs: Math.round(now - began), gapMs: Math.round(now - last) });
    last = now;
  });
  setInterval(() => stream.write('x\n'), echoMs);
}

async function openSignal(host: string, self: PublicKey): Promise<SignalPort> {
  const socket = connect(centerPorts.signal, host);
  await once(socket, 'connect');
  const send = (to: string, message: unknown): void => void socket.write(`${JSON.stringify({ to, from: self, message: pack(message) })}\n`);
  send('', null);
  return {
    send,
    receive: (handler) =>
      createInterface({ input: socket }).on('line', (line) => {
        const { from, message } = JSON.parse(line) as SignalLine;
        const key = parsePublicKey(from);
        if (key !== undefined && message !== null) handler(key, unpack(message) as SignalMessage);
      }),
    onConnected: () => undefined,
  };
}

/** Bytes as `{ bytes: base64 }`, as JSON has none. */
function pack(value: unknown): unknown {
  if (value instanceof Uint8Array) return { bytes: Buffer.from(value).toString('base64') };
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, pack(entry)]));
}

function unpack(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if ('bytes' in value && typeof value.bytes === 'string') return new Uint8Array(Buffer.from(value.bytes, 'base64'));
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, unpack(entry)]));
}

function prefix(text: string): IpPrefix {
  const parsed = parsePrefix(text);
  if (parsed === undefined) throw new TypeError(text);
  return parsed;
}

function tell(event: PeerEvent): void {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}
