// What the stack costs in processor time: two stacks back to back in one process, as fast as they go, with super-packets handed over whole, with super-packets
// cut and joined again on the way as a tunnel does, and with plain packets. MESHGATE_SPEED_MS makes it long enough to profile.
import t from 'tap';
import { chooseAead } from '#crypto/aead-choice.ts';
import { sumWordsBy } from '#wire/checksum.ts';
import { Coalescer } from '#wire/coalescing.ts';
import { Segmenter } from '#wire/segmentation.ts';
import { createStack } from '#netstack/stack.ts';
import type { IpStack, TcpConnection } from '#netstack/types.ts';
import { A4, B4, at, fillWith, seeded } from './link.ts';

const MTU = 1420;
const RUN_MS = Number(process.env['MESHGATE_SPEED_MS'] ?? 150);
const RUN_BYTES = 66_000;
/** What one turn of a tunnel brings at the most. */
const TURN_RUNS = 16;

type Passage = 'super-packets' | 'cut and joined as in the tunnel' | 'cut and joined' | 'plain packets';
/** What sums packets with vectors in memory of its own, where this machine has it. */
const { alloc, sumBlocks } = chooseAead(true, () => performance.now());

interface Waiting {
  readonly buffer: Uint8Array;
  /** One packet, or the packets of one super-packet back to back. */
  readonly run: Uint8Array;
  readonly size: number;
  readonly segmentSize: number;
}

/** Packets on their way to one stack, in buffers that are used again. */
class Lane {
  readonly #waiting: Waiting[] = [];
  readonly #free: Uint8Array[] = [];
  readonly #segmenter: Segmenter;
  readonly #alloc: (bytes: number) => Uint8Array;
  readonly #coalescer: Coalescer;
  readonly #cut: boolean;
  readonly #deliver: (packet: Uint8Array, segmentSize: number) => void;
  packets = 0;
  #now = 0;

  constructor(passage: Passage, target: () => IpStack) {
    this.#cut = passage.startsWith('cut');
    const tunnel = passage.endsWith('tunnel');
    const vectors = tunnel && alloc !== undefined && sumBlocks !== undefined;
    this.#segmenter = new Segmenter(vectors ? sumWordsBy(sumBlocks) : undefined);
    this.#alloc = vectors ? alloc : (bytes) => new Uint8Array(bytes);
    this.#deliver = (packet, segmentSize) => target().receivePacket(packet, this.#now, segmentSize);
    // What came through a tunnel has been proven whole.
    this.#coalescer = new Coalescer(this.#deliver, { proven: tunnel });
  }

  send(packet: Uint8Array, segmentSize: number): void {
    const segmenter = this.#segmenter;
    const buffer = this.#free.pop() ?? this.#alloc(RUN_BYTES);
    if (!this.#cut || segmentSize === 0 || !segmenter.begin(packet, segmentSize)) {
      buffer.set(packet);
      this.packets++;
      this.#waiting.push({ buffer, run: buffer.subarray(0, packet.length), size: packet.length, segmentSize });
      return;
    }
    let length = 0;
    for (let i = 0; i < segmenter.count; i++) length += segmenter.write(i, buffer, length);
    this.packets += segmenter.count;
    this.#waiting.push({ buffer, run: buffer.subarray(0, length), size: segmenter.size, segmentSize: 0 });
  }

  turn(now: number): void {
    this.#now = now;
    for (const { buffer, run, size, segmentSize } of this.#waiting.splice(0, TURN_RUNS)) {
      if (this.#cut) for (let at = 0; at < run.length; at += size) this.#coalescer.add(run.subarray(at, at + size));
      else this.#deliver(run, segmentSize);
      this.#free.push(buffer);
    }
    this.#coalescer.flush();
  }
}

function run(passage: Passage): { gbit: number; perPacket: number; bytes: number } {
  const stacks: IpStack[] = [];
  const stackAt = (index: number): IpStack => stacks[index] as IpStack;
  const lanes = [new Lane(passage, () => stackAt(0)), new Lane(passage, () => stackAt(1))] as const;
  const make = (address: typeof A4, out: Lane): IpStack =>
    createStack({
      addresses: [address],
      mtu: MTU,
      random: fillWith(seeded(4)),
      superPackets: passage !== 'plain packets',
      output: (packet, segmentSize) => out.send(packet, segmentSize),
    });
  stacks.push(make(A4, lanes[1]), make(B4, lanes[0]));
  let received = 0;
  stackAt(1).listen(
    80,
    () => true,
    (connection) =>
      connection.attach({
        established: () => {},
        data: (bytes, now) => {
          received += bytes.length;
          connection.consumed(bytes.length, now);
        },
        remoteEnded: () => {},
        writable: () => {},
        closed: () => {},
      }),
  );
  const chunk = new Uint8Array(65_536);
  const opened: { connection?: TcpConnection } = {};
  const pump = (now: number): void => {
    while ((opened.connection?.write(chunk, now) ?? 0) > 0) continue;
  };
  let now = performance.now();
  opened.connection = stackAt(0).connect(
    at(B4, 80),
    { established: pump, data: () => {}, remoteEnded: () => {}, writable: pump, closed: () => {} },
    now,
  );
  /** Runs for so long, and returns the processor time that it took: the machine may be busy with other things. */
  const turns = (ms: number): number => {
    const start = performance.now();
    const used = process.cpuUsage();
    for (now = start; now < start + ms; now = performance.now()) {
      for (const lane of lanes) lane.turn(now);
      for (const stack of stacks) if (stack.pollAt() <= now) stack.poll(now);
    }
    const { user, system } = process.cpuUsage(used);
    return (user + system) / 1000;
  };
  turns(RUN_MS);
  const before = received;
  const packetsBefore = lanes[0].packets + lanes[1].packets;
  const ms = turns(RUN_MS);
  const bytes = received - before;
  const perSegment = (ms * 1000) / (bytes / (MTU - 52));
  return { gbit: (bytes * 8) / ms / 1e6, perPacket: perSegment, bytes: bytes / (lanes[0].packets + lanes[1].packets - packetsBefore) };
}

void t.test('two stacks back to back', async (t) => {
  for (const passage of ['super-packets', 'cut and joined as in the tunnel', 'cut and joined', 'plain packets'] as const) {
    const { gbit, perPacket, bytes } = run(passage);
    t.comment(
      `${passage}: ${gbit.toFixed(1)} Gb per CPU-second, ${perPacket.toFixed(2)} µs for each ${MTU} bytes, both ends; ${bytes.toFixed(0)} bytes a packet`,
    );
    t.comment(`figure: netstack.speed.${passage.replaceAll(' ', '_')}_gbit_per_cpu_s=${gbit.toFixed(2)}`);
    t.ok(gbit > 0.1, 'it moves');
  }
});
