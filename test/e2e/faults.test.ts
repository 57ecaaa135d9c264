// The server's process is killed for a minute while data flows: between peers that are joined directly nothing stops, between those that
// only the relay joins it stops and goes on by itself. Ten minutes of it, by the overlay's own clock, are in test/overlay/faults/.
import { createHash } from 'node:crypto';
import type { Duplex } from 'node:stream';
import t from 'tap';
import type { MeshNode } from '#mesh/index.ts';
import { call, joinPeer, makeGroup, makeSetupKey, policyBody, startPlane, until } from '../support/parts.ts';

t.setTimeout(300_000);

const awayMs = 60_000;
const chunkBytes = 8 * 1024;
const everyMs = 20;

/** Data there and back through one connection, hashed both ways, with the longest time that none came. */
class Flow {
  readonly #stream: Duplex;
  readonly #out = createHash('sha256');
  readonly #in = createHash('sha256');
  readonly #timer: NodeJS.Timeout;
  #lastAt = performance.now();
  #silence = 0;
  sent = 0;
  received = 0;
  error: Error | undefined;

  constructor(stream: Duplex) {
    this.#stream = stream;
    stream.on('error', (error) => (this.error = error));
    stream.on('data', (chunk: Buffer) => {
      this.#look();
      this.#lastAt = performance.now();
      this.received += chunk.length;
      this.#in.update(chunk);
    });
    this.#timer = setInterval(() => {
      if (stream.writableNeedDrain || stream.destroyed) return;
      const chunk = Buffer.alloc(chunkBytes, this.sent & 255);
      chunk.writeUInt32BE(this.sent);
      this.#out.update(chunk);
      this.sent += chunk.length;
      stream.write(chunk);
    }, everyMs);
  }

  /** The longest time without data since it was last asked. */
  takeSilence(): number {
    this.#look();
    const silence = this.#silence;
    this.#silence = 0;
    return silence;
  }

  /** Stops, waits for what is on its way, and says whether it came back as it went. */
  async finish(): Promise<boolean> {
    clearInterval(this.#timer);
    await until('all data is back', () => this.received === this.sent || this.error !== undefined, 30_000);
    this.#stream.destroy();
    return this.error === undefined && this.#in.digest('hex') === this.#out.digest('hex');
  }

  #look(): void {
    this.#silence = Math.max(this.#silence, performance.now() - this.#lastAt);
  }
}

function kindTo(node: MeshNode, other: MeshNode): string | undefined {
  return node.status().peers.find(({ publicKey }) => publicKey === other.publicKey)?.path?.kind;
}

void t.test('the server is killed for a minute', async (t) => {
  const plane = await startPlane(t);
  const group = await makeGroup(plane, 'everyone here');
  await call(plane, 'POST', '/api/policies', policyBody(group, group, { bidirectional: true }));
  const key = await makeSetupKey(plane, [group]);
  const [a, b] = [await joinPeer(t, plane, 'a', key), await joinPeer(t, plane, 'b', key)];
  const relayed = { listenPort: 0, forceRelay: true };
  const [c, d] = [await joinPeer(t, plane, 'c', key, { overlay: relayed }), await joinPeer(t, plane, 'd', key, { overlay: relayed })];
  for (const node of [b, d]) {
    node.overlay.accept(
      () => true,
      ({ stream }) => {
        stream.on('error', () => undefined);
        stream.pipe(stream);
      },
    );
  }
  const open = async (from: MeshNode, to: MeshNode): Promise<Flow> => {
    await until('they know each other', () => from.status().peers.some(({ publicKey }) => publicKey === to.publicKey), 20_000);
    return new Flow(await from.overlay.dial({ host: to.status().address ?? '', port: 7 }, { signal: AbortSignal.timeout(20_000) }));
  };
  const [direct, byRelay] = [await open(a, b), await open(c, d)];
  await until('both paths', () => kindTo(a, b) === 'direct' && kindTo(c, d) === 'relay', 20_000);
  await until('data', () => direct.received > 1e5 && byRelay.received > 1e5, 20_000);

  direct.takeSilence();
  await plane.part.end('SIGKILL');
  await until('the relay is missed', () => kindTo(c, d) === undefined, 20_000);
  await new Promise((resolve) => setTimeout(resolve, awayMs));
  t.equal(kindTo(a, b), 'direct');
  t.comment(
    `figure: server process killed for ${awayMs / 1000} s: the direct transfer had no data for ${direct.takeSilence().toFixed(0)} ms at most`,
  );

  await plane.restart();
  const begun = performance.now();
  const mark = byRelay.received;
  await until('the relay is back', () => kindTo(c, d) === 'relay' && kindTo(d, c) === 'relay', 60_000);
  const pathMs = performance.now() - begun;
  await until('data by the relay', () => byRelay.received > mark || byRelay.error !== undefined, 60_000);
  t.comment(
    `figure: after the server answers again: relayed path ${pathMs.toFixed(0)} ms, its transfer goes on ${(performance.now() - begun).toFixed(0)} ms`,
  );
  await until('all links', () => [a, b, c, d].every((node) => node.status().links.every(({ connected }) => connected)), 60_000);
  t.comment(`figure: all links of all peers ${(performance.now() - begun).toFixed(0)} ms`);
  t.ok(await direct.finish(), 'every byte of the direct transfer came back as it went');
  t.ok(await byRelay.finish(), 'and every byte of the relayed one');
});
