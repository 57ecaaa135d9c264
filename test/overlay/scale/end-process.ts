// One or many overlays in a process with a collector that can be called, told by a test what to hold. Run with --expose-gc.
import type { Duplex } from 'node:stream';
import { systemClock } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import { silentLogger } from '#lib/log.ts';
import { parsePublicKey, type PublicKey } from '#model/ids.ts';
import type { NetworkMap } from '#model/network-map.ts';
import type { SignalMessage } from '#model/signal.ts';
import { createOverlay, type Overlay } from '#overlay/index.ts';
import { settledMemory } from './settled-memory.ts';

export type ToEnd =
  | { readonly kind: 'open'; readonly ends: readonly { readonly publicKey: string; readonly privateKey: Uint8Array }[] }
  | { readonly kind: 'maps'; readonly maps: readonly { readonly publicKey: string; readonly map: NetworkMap }[] }
  | { readonly kind: 'signal'; readonly from: string; readonly to: string; readonly message: SignalMessage }
  /** Opens so many connections more from the first overlay, `atOnce` of them at a time. */
  | { readonly kind: 'dial'; readonly host: string; readonly count: number; readonly atOnce: number }
  /** Opens so many connections and keeps them busy; 0 ends them. Port 9 takes data, any other sends it back. */
  | { readonly kind: 'busy'; readonly count: number; readonly host: string; readonly port: number }
  /** Nobody reads any more, so that everything fills up and then stands still; what is busy next reads again. */
  | { readonly kind: 'hold' }
  /** Sends a byte through every connection and waits until it is back. */
  | { readonly kind: 'ping' }
  | { readonly kind: 'connected' }
  | { readonly kind: 'memory' };

export type FromEnd =
  | { readonly kind: 'signal'; readonly from: string; readonly to: string; readonly message: SignalMessage }
  | { readonly kind: 'done'; readonly value: number }
  | { readonly kind: 'failed'; readonly reason: string };

const say = (message: FromEnd): void => void process.send?.(message);
const receivers = new Map<string, (from: PublicKey, message: SignalMessage) => void>();
const overlays = new Map<string, Overlay>();
const streams: Duplex[] = [];
const chunkBytes = 16 * 1024;
let busy: Duplex[] = [];
let accepted = 0;
/** Accepted streams that only take. */
const taking = new Set<Duplex>();

async function open(publicKey: string, privateKey: Uint8Array): Promise<void> {
  const overlay = await createOverlay(
    {
      signal: {
        send: (to, message) => say({ kind: 'signal', from: publicKey, to, message }),
        receive: (handler) => receivers.set(publicKey, handler),
        onConnected: () => undefined,
      },
      log: silentLogger,
      clock: systemClock,
    },
    { privateKey: Uint8Array.from(privateKey), listenPort: 0, version: '0.70.0', ca: undefined, hostAddresses: ['127.0.0.1'] },
  );
  overlay.accept(
    () => true,
    ({ stream, local }) => {
      accepted++;
      stream.on('error', () => undefined);
      stream.on('close', () => {
        accepted--;
        taking.delete(stream);
      });
      if (local.port === 9) {
        taking.add(stream);
        stream.resume();
      } else stream.pipe(stream);
    },
  );
  overlays.set(publicKey, overlay);
}

async function dial(host: string, count: number, atOnce: number): Promise<void> {
  const [overlay] = overlays.values();
  if (overlay === undefined) return;
  let left = count;
  const work = async (): Promise<void> => {
    while (left-- > 0) {
      const stream = await overlay.dial({ host, port: 7 }, { signal: AbortSignal.timeout(60_000) });
      stream.on('error', (error) => say({ kind: 'failed', reason: describeError(error) }));
      streams.push(stream);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
}

/** Writes whenever there is room, bytes of its own each time, and reads what comes back. */
function keepBusy(stream: Duplex): void {
  const fill = (): void => {
    while (!stream.destroyed && stream.write(Buffer.alloc(chunkBytes)));
  };
  stream.on('error', () => undefined);
  stream.on('drain', fill);
  stream.resume();
  fill();
}

async function setBusy(count: number, host: string, port: number): Promise<void> {
  for (const stream of busy) stream.destroy();
  const [overlay] = overlays.values();
  if (overlay === undefined) return;
  busy = await Promise.all(Array.from({ length: count }, () => overlay.dial({ host, port }, { signal: AbortSignal.timeout(60_000) })));
  for (const stream of busy) keepBusy(stream);
}

async function ping(): Promise<void> {
  await Promise.all(
    streams.map(
      (stream) =>
        new Promise<void>((resolve) => {
          stream.once('data', () => resolve());
          stream.write(Uint8Array.of(1));
        }),
    ),
  );
  for (const stream of streams) stream.pause();
}

async function receive(message: ToEnd): Promise<number | undefined> {
  switch (message.kind) {
    case 'open':
      for (const { publicKey, privateKey } of message.ends) await open(publicKey, privateKey);
      return 0;
    case 'maps':
      for (const { publicKey, map } of message.maps) overlays.get(publicKey)?.apply(map);
      return 0;
    case 'signal': {
      const from = parsePublicKey(message.from);
      if (from !== undefined) receivers.get(message.to)?.(from, message.message);
      return undefined;
    }
    case 'dial':
      await dial(message.host, message.count, message.atOnce);
      return streams.length;
    case 'busy':
      await setBusy(message.count, message.host, message.port);
      return busy.length;
    case 'hold':
      for (const stream of [...busy, ...taking]) stream.pause();
      return busy.length + taking.size;
    case 'ping':
      await ping();
      return streams.length + accepted;
    case 'connected': {
      let connected = 0;
      for (const overlay of overlays.values()) {
        for (const { path, lastHandshake } of overlay.status().peers) if (path?.kind === 'direct' && lastHandshake !== undefined) connected++;
      }
      return connected;
    }
    case 'memory':
      return settledMemory();
  }
}

process.on('message', (message: ToEnd) => {
  receive(message).then(
    (value) => {
      if (value !== undefined) say({ kind: 'done', value });
    },
    (error: unknown) => say({ kind: 'failed', reason: describeError(error) }),
  );
});
process.on('disconnect', () => process.exit());
