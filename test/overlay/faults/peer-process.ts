// An overlay as a process of its own, in a namespace. Its signal goes through the test, so that only what is tested is at fault.
import { createHash, type Hash } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { inspect } from 'node:util';
import { systemClock } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import { silentLogger } from '#lib/log.ts';
import { parsePublicKey, type PublicKey } from '#model/ids.ts';
import type { SignalMessage } from '#model/signal.ts';
import { createOverlay, type Overlay } from '#overlay/index.ts';
import { seededBytes } from '../../support/seeded.ts';
import type { FromPeer, ToPeer } from './protocol.ts';

/** About three megabytes a second: enough to see a gap, little enough for a shared machine. */
const chunkBytes = 32 * 1024;
const everyMs = 10;
const steadyGapMs = 500;

const say = (message: FromPeer): void => void process.send?.(message);

class Traffic {
  readonly #stream: Duplex;
  readonly #sent: Hash = createHash('sha256');
  readonly #received: Hash = createHash('sha256');
  readonly #random = seededBytes(7);
  readonly #ended = Promise.withResolvers<void>();
  #bytes = 0;
  #came = 0;
  #lastAt = performance.now();
  #longest = 0;
  #steadySince = performance.now();
  #timer: NodeJS.Timeout | undefined;

  constructor(stream: Duplex) {
    this.#stream = stream;
    remember(stream);
    stream.on('data', (chunk: Buffer) => {
      this.#look();
      this.#lastAt = performance.now();
      if (this.#came === 0) say({ kind: 'flowing' });
      this.#came += chunk.length;
      this.#received.update(chunk);
    });
    stream.on('error', (error) => say({ kind: 'failed', reason: describeError(error) }));
    stream.on('end', () => this.#ended.resolve());
    this.#timer = setInterval(() => this.#write(), everyMs);
  }

  mark(): void {
    this.#longest = 0;
    this.#lastAt = performance.now();
    this.#steadySince = this.#lastAt;
  }

  get silenceMs(): number {
    this.#look();
    return this.#longest;
  }

  get steadyMs(): number {
    this.#look();
    return performance.now() - this.#steadySince;
  }

  async finish(): Promise<void> {
    clearInterval(this.#timer);
    this.#stream.end();
    await this.#ended.promise;
    say({ kind: 'finished', sent: this.#sent.digest('hex'), received: this.#received.digest('hex'), bytes: this.#bytes });
  }

  #look(): void {
    const gap = performance.now() - this.#lastAt;
    this.#longest = Math.max(this.#longest, gap);
    if (gap > steadyGapMs) this.#steadySince = performance.now();
  }

  #write(): void {
    if (this.#stream.writableNeedDrain) return;
    const chunk = Buffer.alloc(chunkBytes);
    this.#random(chunk.subarray(0, 64));
    this.#sent.update(chunk);
    this.#bytes += chunk.length;
    this.#stream.write(chunk);
  }
}

const streams = new Set<Duplex>();

function remember(stream: Duplex): void {
  streams.add(stream);
  stream.once('close', () => streams.delete(stream));
}

let overlay: Overlay | undefined;
let traffic: Traffic | undefined;
let fromSignal: (from: PublicKey, message: SignalMessage) => void = () => undefined;

async function open(privateKey: Uint8Array, forceRelay: boolean): Promise<void> {
  overlay = await createOverlay(
    {
      signal: {
        send: (to, message) => say({ kind: 'signal', to, message }),
        receive: (handler) => (fromSignal = handler),
        onConnected: () => undefined,
      },
      log: silentLogger,
      clock: systemClock,
    },
    { privateKey: Uint8Array.from(privateKey), listenPort: 0, version: '0.70.0', ca: undefined, forceRelay },
  );
  overlay.accept(
    () => true,
    ({ stream }) => {
      remember(stream);
      stream.on('error', (error) => say({ kind: 'failed', reason: `echo: ${describeError(error)}` }));
      stream.pipe(stream);
    },
  );
  say({ kind: 'ready' });
}

async function receive(message: ToPeer): Promise<void> {
  switch (message.kind) {
    case 'open':
      return open(message.privateKey, message.forceRelay);
    case 'map':
      return overlay?.apply(message.map);
    case 'endpoints':
      return overlay?.setEndpoints(message.endpoints);
    case 'signal': {
      const from = parsePublicKey(message.from);
      if (from !== undefined) fromSignal(from, message.message);
      return;
    }
    case 'traffic':
      traffic = new Traffic((await overlay?.dial({ host: message.host, port: 7 }, { signal: AbortSignal.timeout(30_000) })) as Duplex);
      return;
    case 'mark':
      return traffic?.mark();
    case 'ask': {
      const status = overlay?.status();
      if (status === undefined) return;
      const answer = {
        peer: status.peers[0],
        relayConnected: status.relay.connected,
        figures: status.figures,
        silenceMs: traffic?.silenceMs ?? 0,
        steadyMs: traffic?.steadyMs ?? 0,
        streams: Array.from(streams, (stream) => inspect(stream)),
      };
      return say({ kind: 'answer', answer });
    }
    case 'finish':
      return traffic?.finish();
  }
}

process.on('message', (message: ToPeer) => {
  receive(message).catch((error: unknown) => say({ kind: 'failed', reason: describeError(error) }));
});
process.on('disconnect', () => process.exit());
