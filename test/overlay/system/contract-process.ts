// One overlay in a process and a namespace of its own, with an application above it: what `contract.test.ts` asks, it does and answers.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import { parsePublicKey, type PublicKey } from '#model/ids.ts';
import type { NetworkMap } from '#model/network-map.ts';
import type { SignalMessage } from '#model/signal.ts';
import { createOverlay, type Overlay, type OverlayConnection, type OverlayUdpSocket } from '#overlay/index.ts';
import { seededBytes } from '../../support/seeded.ts';

export const PORT = { echo: 7, digest: 9, reset: 11, who: 12, source: 19, unwanted: 81 } as const;

export interface OpenRequest {
  readonly mode: 'userspace' | 'system';
  readonly privateKey: Uint8Array;
  readonly hostAddress: string;
  readonly listenPort: number;
}

export interface Where {
  readonly host: string;
  readonly port: number;
}

/** What can be asked; each answers with a value that survives structured clone. */
const tasks = {
  async open({ mode, privateKey, hostAddress, listenPort }: OpenRequest): Promise<void> {
    overlay = await createOverlay(
      {
        signal: {
          send: (to, message) => void process.send?.({ signal: message, to }),
          receive: (handler) => (fromSignal = handler),
          onConnected: () => undefined,
        },
        log: silentLogger,
        clock: systemClock,
      },
      { mode, privateKey: Uint8Array.from(privateKey), listenPort, version: '0.70.0', ca: undefined, hostAddresses: [hostAddress] },
    );
    overlay.accept((port) => Object.values(PORT).some((known) => known === port && known !== PORT.unwanted), serve);
  },

  async map(map: NetworkMap): Promise<void> {
    opened().apply(map);
    echoUdp ??= await opened().bindUdp(PORT.echo, (bytes, from) => echoUdp?.send(bytes, from));
  },

  /** Sends numbered datagrams to the echo until each has come back, or for a second; how many did. */
  async datagrams({ host, count, bytes }: { readonly host: string; readonly count: number; readonly bytes: number }): Promise<number> {
    const back = new Set<number>();
    const done = Promise.withResolvers<void>();
    const socket = await opened().bindUdp(0, (got) => {
      if (got.length === bytes) back.add(Buffer.from(got).readUInt32BE(0));
      if (back.size === count) done.resolve();
    });
    const datagram = Buffer.alloc(bytes, 'd');
    const sendMissing = (): void => {
      for (let i = 0; i < count; i++) {
        if (back.has(i)) continue;
        datagram.writeUInt32BE(i, 0);
        socket.send(datagram, { address: host, port: PORT.echo });
      }
    };
    sendMissing();
    const again = setInterval(sendMissing, 200);
    const stop = setTimeout(() => done.resolve(), 1000);
    await done.promise;
    clearInterval(again);
    clearTimeout(stop);
    socket.close();
    return back.size;
  },

  /** Sends that many bytes to the echo and compares what comes back. */
  async echo({ host, bytes }: { readonly host: string; readonly bytes: number }): Promise<boolean> {
    const stream = await dial({ host, port: PORT.echo });
    const sent = payload(bytes);
    stream.end(sent);
    return digest(await readAll(stream)) === digest(sent);
  },

  /** Sends, ends its own direction, and only then gets an answer: the digest of what arrived. */
  async halfClose({ host, bytes }: { readonly host: string; readonly bytes: number }): Promise<boolean> {
    const stream = await dial({ host, port: PORT.digest });
    const sent = payload(bytes);
    stream.end(sent);
    return (await readAll(stream)).toString() === digest(sent);
  },

  /** The code with which a dial fails, or 'open'. */
  async refusal({ host, port, abortMs }: Where & { readonly abortMs?: number }): Promise<string> {
    try {
      (await dial({ host, port }, abortMs)).destroy();
      return 'open';
    } catch (error) {
      return codeOf(error);
    }
  },

  /** How a connection ends that the other side resets after a first byte. */
  async cutOff({ host }: { readonly host: string }): Promise<string> {
    const stream = await dial({ host, port: PORT.reset });
    const end = Promise.race([once(stream, 'error').then(([error]) => codeOf(error)), once(stream, 'end').then(() => 'end')]);
    stream.resume().write('x');
    return end;
  },

  /** What the far end says of the connection. */
  async who({ host }: { readonly host: string }): Promise<string> {
    const stream = await dial({ host, port: PORT.who });
    stream.end();
    return (await readAll(stream)).toString();
  },

  /** So many connections at once, each with its own bytes; how many came back right. */
  async crowd({ host, count }: { readonly host: string; readonly count: number }): Promise<number> {
    const results = await Promise.all(Array.from({ length: count }, () => tasks.echo({ host, bytes: 10_000 })));
    return results.filter(Boolean).length;
  },

  /** Opens a connection that stays, and says how it ends. */
  async hold({ host }: { readonly host: string }): Promise<void> {
    const stream = await dial({ host, port: PORT.echo });
    held = Promise.race([
      once(stream, 'error').then(([error]) => codeOf(error)),
      once(stream, 'end').then(() => 'end'),
      once(stream, 'close').then(() => 'close'),
    ]);
    stream.write('held');
    await once(stream, 'data');
  },

  async held(): Promise<string> {
    return held;
  },

  /** Bytes at full speed from the far end for so long; Gb/s. */
  async download({ host, seconds }: { readonly host: string; readonly seconds: number }): Promise<number> {
    const stream = await dial({ host, port: PORT.source });
    const begun = performance.now();
    let bytes = 0;
    stream.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (performance.now() - begun > seconds * 1000) stream.destroy();
    });
    await once(stream, 'close');
    return (bytes * 8) / ((performance.now() - begun) / 1000) / 1e9;
  },

  async close(): Promise<void> {
    await overlay?.close();
    overlay = undefined;
  },
};

export type Tasks = typeof tasks;

let overlay: Overlay | undefined;
let echoUdp: OverlayUdpSocket | undefined;
let held: Promise<string> = Promise.resolve('never');
let fromSignal: (from: PublicKey, message: SignalMessage) => void = () => undefined;

function opened(): Overlay {
  if (overlay === undefined) throw new TypeError('not open');
  return overlay;
}

function dial({ host, port }: Where, ms = 20_000): Promise<Duplex> {
  return opened().dial({ host, port }, { signal: AbortSignal.timeout(ms) });
}

function payload(bytes: number): Buffer {
  const out = Buffer.alloc(bytes);
  seededBytes(bytes)(out);
  return out;
}

function digest(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Not by iterating, which would destroy the stream where only one direction has ended. */
async function readAll(stream: Duplex): Promise<Buffer> {
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(stream, 'end');
  return Buffer.concat(chunks);
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}

function serve({ stream, local, remote, peer }: OverlayConnection): void {
  stream.on('error', () => undefined);
  switch (local.port) {
    case PORT.echo:
      stream.pipe(stream);
      return;
    case PORT.digest:
      void readAll(stream).then(
        (bytes) => stream.end(digest(bytes)),
        () => undefined,
      );
      return;
    case PORT.reset:
      stream.once('data', () => stream.destroy());
      return;
    case PORT.who:
      stream.resume().end(JSON.stringify({ local, remote: remote.address, peer }));
      return;
    case PORT.source: {
      const chunk = Buffer.alloc(65_536, 's');
      const more = (): void => {
        while (!stream.destroyed && stream.write(chunk));
      };
      stream.resume().on('drain', more);
      more();
    }
  }
}

process.on('message', (message: { id: number; task: keyof Tasks; request: never } | { from: string; signal: SignalMessage }) => {
  if ('signal' in message) {
    const from = parsePublicKey(message.from);
    if (from !== undefined) fromSignal(from, message.signal);
    return;
  }
  const { id, task, request } = message;
  tasks[task](request).then(
    (answer) => process.send?.({ id, answer }),
    (error: unknown) => process.send?.({ id, failure: error instanceof Error ? `${codeOf(error)} ${error.message}` : String(error) }),
  );
});
process.on('disconnect', () => process.exit());
