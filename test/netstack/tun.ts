// The Linux kernel as the other side: a network namespace with a TUN device whose far end is our stack. The test's own thread moves into
// the namespace, so `node:net` in the test is the kernel's TCP. Loss, reordering and duplicates are made here, seeded.
import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, read, writeSync } from 'node:fs';
import ffi from 'node:ffi';
import { createStack } from '#netstack/stack.ts';
import type { IpStack } from '#netstack/types.ts';
import { fillWith, ip, seeded } from './link.ts';

const TUNSETIFF = 0x400454ca;
const IFF_TUN_NO_PI = 0x1001;
export const CLONE_NEWNET = 0x40000000;

export const KERNEL4 = ip('10.77.0.1');
export const OURS4 = ip('10.77.0.2');
export const KERNEL6 = ip('fd77::1');
export const OURS6 = ip('fd77::2');

export interface Disorder {
  readonly seed: number;
  readonly loss: number;
  readonly reorder: number;
  readonly duplicate: number;
}

/** Why the kernel cannot be had here, or undefined where it can. */
export function whyNoKernel(): string | undefined {
  if (process.platform !== 'linux') return 'needs Linux';
  if (process.getuid?.() !== 0) return 'needs root';
  try {
    const probe = `mgprobe${process.pid}`;
    execFileSync('ip', ['netns', 'add', probe], { stdio: 'ignore' });
    execFileSync('ip', ['netns', 'del', probe], { stdio: 'ignore' });
    closeSync(openSync('/dev/net/tun', 'r+'));
  } catch (error) {
    return `needs iproute2, network namespaces and /dev/net/tun: ${String(error)}`;
  }
  return undefined;
}

export interface LibC {
  readonly setns: (fd: number, kind: number) => number;
  readonly ioctl: (fd: number, request: bigint, argument: Uint8Array) => number;
  readonly read: (fd: number, target: Uint8Array, length: bigint) => bigint;
}

export function loadLibC(): LibC {
  const { functions } = ffi.dlopen('libc.so.6', {
    setns: { arguments: ['int32', 'int32'], return: 'int32' },
    ioctl: { arguments: ['int32', 'uint64', 'buffer'], return: 'int32' },
    read: { arguments: ['int32', 'buffer', 'uint64'], return: 'int64' },
  } as never) as unknown as { functions: LibC };
  return functions;
}

/** A TUN device in the namespace that the thread is in. */
export function openTun(libc: LibC, name: string, nonBlocking: boolean): number {
  const tun = openSync('/dev/net/tun', constants.O_RDWR | (nonBlocking ? constants.O_NONBLOCK : 0));
  const request = Buffer.alloc(40);
  request.write(name);
  request.writeUInt16LE(IFF_TUN_NO_PI, 16);
  if (libc.ioctl(tun, BigInt(TUNSETIFF), request) !== 0) throw new TypeError('TUNSETIFF failed');
  return tun;
}

/** A namespace, a TUN device in it, and a stack behind that. */
export class Kernel {
  readonly stack: IpStack;
  disorder: Disorder | undefined;
  packets = 0;
  readonly #name: string;
  readonly #libc = loadLibC();
  readonly #home: number;
  readonly #tun: number;
  readonly #buffer = Buffer.alloc(2048);
  readonly #late: (() => void)[] = [];
  #random = seeded(1);
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Infinity;
  #closed = false;

  constructor() {
    this.#name = `mgns${process.pid}`;
    execFileSync('ip', ['netns', 'add', this.#name]);
    this.#home = openSync('/proc/thread-self/ns/net', 'r');
    const there = openSync(`/run/netns/${this.#name}`, 'r');
    if (this.#libc.setns(there, CLONE_NEWNET) !== 0) throw new TypeError('setns failed');
    closeSync(there);
    this.#tun = openTun(this.#libc, 'mg0', false);
    for (const line of ['link set lo up', 'link set mg0 mtu 1280 up', 'addr add 10.77.0.1/24 dev mg0', '-6 addr add fd77::1/64 dev mg0 nodad']) {
      execFileSync('ip', line.split(' '));
    }
    this.stack = createStack({
      addresses: [OURS4, OURS6],
      mtu: 1280,
      random: fillWith(seeded(process.pid)),
      output: (packet) => this.#toKernel(packet),
    });
    this.#read();
  }

  disturb(disorder: Disorder | undefined): void {
    this.disorder = disorder;
    if (disorder !== undefined) this.#random = seeded(disorder.seed);
  }

  now(): number {
    return performance.now();
  }

  /** Runs `work` on the stack and looks at its timer afterwards. */
  act<T>(work: (stack: IpStack, now: number) => T): T {
    try {
      return work(this.stack, this.now());
    } finally {
      this.#arm();
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    execFileSync('ip', ['link', 'del', 'mg0']); // ends the read that waits
    this.#libc.setns(this.#home, CLONE_NEWNET);
    closeSync(this.#home);
    execFileSync('ip', ['netns', 'del', this.#name]);
  }

  #toKernel(packet: Uint8Array): void {
    const copy = new Uint8Array(packet);
    this.#disturbed(() => {
      if (!this.#closed) writeSync(this.#tun, copy);
    });
  }

  #fromKernel(packet: Uint8Array): void {
    if (this.disorder === undefined) {
      this.act((stack, now) => stack.receivePacket(packet, now));
      return;
    }
    const copy = new Uint8Array(packet);
    this.#disturbed(() => this.act((stack, now) => stack.receivePacket(copy, now)));
  }

  /** Passes a packet on, or not, or twice, or after the next ones. */
  #disturbed(pass: () => void): void {
    this.packets++;
    const { disorder } = this;
    if (disorder === undefined) return pass();
    if (this.#random() < disorder.loss) return;
    if (this.#random() < disorder.reorder) {
      this.#late.push(pass);
      setTimeout(() => this.#flushLate(), 3);
      return;
    }
    pass();
    if (this.#random() < disorder.duplicate) pass();
    if (this.#late.length > 3) this.#flushLate();
  }

  #flushLate(): void {
    for (const pass of this.#late.splice(0)) pass();
  }

  #read(): void {
    read(this.#tun, this.#buffer, 0, this.#buffer.length, null, (error, length) => {
      if (error !== null || this.#closed) {
        closeSync(this.#tun);
        return;
      }
      this.#fromKernel(this.#buffer.subarray(0, length));
      this.#read();
    });
  }

  #arm(): void {
    const at = this.stack.pollAt();
    if (at === this.#timerAt || this.#closed) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    if (at === Infinity) return;
    this.#timer = setTimeout(
      () => {
        this.#timerAt = Infinity;
        this.act((stack, now) => stack.poll(now));
      },
      Math.max(0, at - this.now()),
    );
  }
}
