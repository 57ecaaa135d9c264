// Two kernels with our emulated link between them: two network namespaces, a TUN device in each, and a bridge that passes packets from one
// to the other in real time. Each flow has a link of its own, chosen by its port.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, writeSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { constants, setPriority } from 'node:os';
import { LinkModel } from './link-model.ts';
import type { LinkConditions } from './link-model.ts';
import { CLONE_NEWNET, loadLibC, openTun } from './tun.ts';

const ADDRESS = { a: '10.79.0.1', b: '10.79.0.2' } as const;
const LIMIT_MS = 60_000;

/** A bridge that is not called for so long has delayed what it carries, and filled its queues by that. */
const LATE_MS = 2;

type Side = 'a' | 'b';

interface Arrival {
  readonly at: number;
  readonly to: Side;
  readonly packet: Uint8Array;
}

export class KernelPair {
  readonly #libc = loadLibC();
  readonly #home = openSync('/proc/thread-self/ns/net', 'r');
  readonly #names = { a: `mgka${process.pid}`, b: `mgkb${process.pid}` };
  readonly #spaces: Record<Side, number>;
  readonly #tuns: Record<Side, number>;
  readonly #links = new Map<number, LinkModel>();
  readonly #flying: Arrival[] = [];
  readonly #buffer = Buffer.alloc(2048);
  /** Milliseconds in which the bridge was late, as other processes had the processor. */
  lateMs = 0;
  /** Packets that a kernel's device would not take. */
  refused = 0;
  #lookedAt = performance.now();
  #nextPort = 9000;
  #turn: NodeJS.Immediate | undefined;
  #closed = false;

  constructor() {
    this.#spaces = { a: this.#space('a'), b: this.#space('b') };
    this.#tuns = { a: this.#device('a'), b: this.#device('b') };
    this.#enter(this.#spaces.a);
    setPriority(constants.priority.PRIORITY_HIGH); // a late bridge is another link
    this.#spin();
  }

  /** Sends `size` bytes from one kernel to the other over a link of its own; milliseconds from the first SYN to the last byte. */
  async transfer(link: LinkConditions, size: number): Promise<number> {
    const port = this.#nextPort++;
    this.#links.set(port, new LinkModel(link));
    this.#enter(this.#spaces.b);
    const server = createServer();
    server.listen(port, ADDRESS.b);
    await once(server, 'listening');
    this.#enter(this.#spaces.a);
    const start = performance.now();
    const client = connect({ host: ADDRESS.b, port });
    const done = this.#allReceived(server, size);
    client.on('error', () => undefined);
    client.write(new Uint8Array(size));
    try {
      await done;
      return performance.now() - start;
    } finally {
      client.destroy();
      server.close();
    }
  }

  async #allReceived(server: ReturnType<typeof createServer>, size: number): Promise<void> {
    const signal = AbortSignal.timeout(LIMIT_MS);
    const [socket] = (await once(server, 'connection', { signal })) as [Socket];
    let received = 0;
    for await (const chunk of socket.iterator({ destroyOnReturn: true })) {
      received += (chunk as Buffer).length;
      if (received >= size) return;
      signal.throwIfAborted();
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearImmediate(this.#turn);
    setPriority(constants.priority.PRIORITY_NORMAL);
    this.#enter(this.#home);
    for (const side of ['a', 'b'] as const) {
      closeSync(this.#tuns[side]);
      closeSync(this.#spaces[side]);
      execFileSync('ip', ['netns', 'del', this.#names[side]]);
    }
    closeSync(this.#home);
  }

  #space(side: Side): number {
    execFileSync('ip', ['netns', 'add', this.#names[side]]);
    return openSync(`/run/netns/${this.#names[side]}`, 'r');
  }

  #device(side: Side): number {
    this.#enter(this.#spaces[side]);
    const tun = openTun(this.#libc, 'mg0', true);
    const run = (line: string): unknown => execFileSync('ip', line.split(' '));
    run('link set lo up');
    run('link set mg0 mtu 1280 up');
    run(`addr add ${ADDRESS[side]}/24 dev mg0`);
    // The same congestion control as ours, whatever this machine prefers, and nothing learnt from one transfer for the next.
    run('route change 10.79.0.0/24 dev mg0 congctl cubic');
    execFileSync('sysctl', ['-q', '-w', 'net.ipv4.tcp_no_metrics_save=1']);
    return tun;
  }

  #enter(space: number): void {
    if (this.#libc.setns(space, CLONE_NEWNET) !== 0) throw new TypeError('setns failed');
  }

  /** Looks at both devices and at what is due, each turn of the loop. */
  #spin(): void {
    this.#take('a');
    this.#take('b');
    const now = performance.now();
    if (now - this.#lookedAt > LATE_MS) this.lateMs += now - this.#lookedAt;
    this.#lookedAt = now;
    for (let first = this.#flying[0]; first !== undefined && first.at <= now; first = this.#flying[0]) {
      this.#flying.shift();
      try {
        writeSync(this.#tuns[first.to], first.packet);
      } catch {
        this.refused++; // the device's queue is full: a loss that the link was not asked for
      }
    }
    if (!this.#closed) this.#turn = setImmediate(() => this.#spin());
  }

  #take(from: Side): void {
    const to = from === 'a' ? 'b' : 'a';
    for (let i = 0; i < 64; i++) {
      const length = Number(this.#libc.read(this.#tuns[from], this.#buffer, BigInt(this.#buffer.length)));
      if (length <= 0) return;
      const packet = this.#buffer.subarray(0, length);
      if ((packet[0] ?? 0) >> 4 !== 4 || packet[9] !== 6) continue;
      const link = this.#links.get(packet.readUInt16BE(from === 'a' ? 22 : 20));
      link?.pass(packet, from, performance.now(), (at, copy) => this.#insert({ at, to, packet: copy }));
    }
  }

  #insert(arrival: Arrival): void {
    let index = this.#flying.length;
    while (index > 0 && (this.#flying[index - 1]?.at ?? 0) > arrival.at) index--;
    this.#flying.splice(index, 0, arrival);
  }
}
