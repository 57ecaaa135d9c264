// A TUN device of the Linux kernel with segmentation offload (Documentation/networking/tuntap.rst): the only file that knows how one is
// opened, read and written. `node:ffi` is used for the one ioctl that Node does not have, and because a read that finds nothing must not
// cost an exception.
import { closeSync, constants, openSync } from 'node:fs';
import { loadFfi } from '#lib/ffi.ts';
import { overlayError } from '../errors.ts';
import { type Readiness, watchDescriptor } from '../udp/readiness.ts';
import { readVnetHeader, VNET_HEADER, writeVnetHeader } from './vnet-header.ts';

const TUNSETIFF = 0x400454ca;
const TUNSETOFFLOAD = 0x400454d0;
const IFF_TUN = 0x0001;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const OFFLOAD_CHECKSUM = 0x01;
const OFFLOAD_TSO4 = 0x02;
const OFFLOAD_TSO6 = 0x04;
const IFNAMSIZ = 16;
/** The longest IP packet, with the header before it. */
const FRAME_BYTES = VNET_HEADER + 65_535;
/** One turn of the loop takes at most this many packets, of up to 64 KiB, before others have their turn. */
const READS_PER_TURN = 16;
const IOVEC_BYTES = 16;

export interface TunDevice {
  /** The name that the kernel gave. */
  readonly name: string;
  /** Packets that the kernel would not take. */
  readonly refused: number;
  /** A packet from the tunnel, for the kernel; `segmentSize` as the joiner gives it. Its checksum field may be changed. */
  write(packet: Uint8Array, segmentSize: number): void;
  close(): Promise<void>;
}

/** Gets a packet that the kernel wants sent; more than the MTU where `segmentSize` is not 0. Valid only during the call. */
export type TunReceiver = (packet: Uint8Array, segmentSize: number) => void;

/**
 * Makes a device with a name after `pattern`, such as `wtmg%d`. `turn` does the work it is given, which reads what waits, and whatever
 * belongs to the end of a turn. The device vanishes when it is closed or the process ends. Throws
 * OVERLAY_TUN or OVERLAY_NATIVE where this system or this user may not have one.
 */
export function openTun(pattern: string, receive: TunReceiver, turn: (work: () => void) => void): TunDevice {
  if (process.platform !== 'linux') throw overlayError('OVERLAY_TUN', process.platform);
  let descriptor: number;
  try {
    descriptor = openSync('/dev/net/tun', constants.O_RDWR | constants.O_NONBLOCK);
  } catch (error) {
    throw overlayError('OVERLAY_TUN', '/dev/net/tun', error);
  }
  try {
    const libc = bindLibc();
    return new LinuxTun(libc, descriptor, configure(libc, descriptor, pattern), receive, turn);
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

type Libc = ReturnType<typeof bindLibc>;

function bindLibc() {
  const ffi = loadFfi();
  if (ffi === undefined) throw overlayError('OVERLAY_NATIVE', 'this Node has no node:ffi');
  const { getRawPointer } = ffi;
  const { ioctl, read, writev } = new ffi.DynamicLibrary(null).getFunctions({
    ioctl: { arguments: ['int32', 'uint64', 'uint64'], return: 'int32' },
    read: { arguments: ['int32', 'uint64', 'uint64'], return: 'int64' },
    writev: { arguments: ['int32', 'uint64', 'int32'], return: 'int64' },
  });
  return { ioctl, read, writev, getRawPointer };
}

/** Names the device and tells the kernel what it may leave to us; returns the name. */
function configure({ ioctl, getRawPointer }: Libc, descriptor: number, pattern: string): string {
  const request = Buffer.alloc(40);
  if (Buffer.byteLength(pattern) >= IFNAMSIZ) throw overlayError('OVERLAY_TUN', `the name ${pattern} is too long`);
  request.write(pattern, 'ascii');
  request.writeUInt16LE(IFF_TUN | IFF_NO_PI | IFF_VNET_HDR, IFNAMSIZ);
  if (ioctl(descriptor, BigInt(TUNSETIFF), getRawPointer(request)) !== 0) throw overlayError('OVERLAY_TUN', 'the kernel refuses a device');
  if (ioctl(descriptor, BigInt(TUNSETOFFLOAD), BigInt(OFFLOAD_CHECKSUM | OFFLOAD_TSO4 | OFFLOAD_TSO6)) !== 0) {
    throw overlayError('OVERLAY_TUN', 'the kernel refuses segmentation offload');
  }
  return request.toString('ascii', 0, request.indexOf(0));
}

class LinuxTun implements TunDevice {
  readonly name: string;
  refused = 0;
  readonly #libc: Libc;
  readonly #descriptor: number;
  readonly #receive: TunReceiver;
  readonly #frame = Buffer.alloc(FRAME_BYTES);
  readonly #frameAt: bigint;
  readonly #header = Buffer.alloc(VNET_HEADER);
  readonly #vector = Buffer.alloc(2 * IOVEC_BYTES);
  readonly #vectorAt: bigint;
  /** The buffer that the last packet stood in, with its address: packets come from few buffers. */
  #known: ArrayBufferLike | undefined;
  #knownAt = 0n;
  readonly #readiness: Readiness;
  #closed: Promise<void> | undefined;

  constructor(libc: Libc, descriptor: number, name: string, receive: TunReceiver, turn: (work: () => void) => void) {
    this.#libc = libc;
    this.#descriptor = descriptor;
    this.name = name;
    this.#receive = receive;
    this.#frameAt = libc.getRawPointer(this.#frame);
    this.#vectorAt = libc.getRawPointer(this.#vector);
    this.#vector.writeBigUInt64LE(libc.getRawPointer(this.#header), 0);
    this.#vector.writeBigUInt64LE(BigInt(VNET_HEADER), 8);
    const drain = (): void => this.#drain();
    this.#readiness = watchDescriptor(descriptor, () => turn(drain));
  }

  write(packet: Uint8Array, segmentSize: number): void {
    if (this.#closed !== undefined || packet.length === 0) return;
    writeVnetHeader(this.#header, packet, segmentSize);
    if (packet.buffer !== this.#known) {
      this.#known = packet.buffer;
      this.#knownAt = this.#libc.getRawPointer(new Uint8Array(packet.buffer));
    }
    // A view's offset and length lie within its buffer, so the kernel reads nothing else.
    this.#vector.writeBigUInt64LE(this.#knownAt + BigInt(packet.byteOffset), IOVEC_BYTES);
    this.#vector.writeBigUInt64LE(BigInt(packet.length), IOVEC_BYTES + 8);
    if (this.#libc.writev(this.#descriptor, this.#vectorAt, 2) < 0n) this.refused++;
  }

  close(): Promise<void> {
    this.#closed ??= (async () => {
      await this.#readiness.close();
      closeSync(this.#descriptor);
    })();
    return this.#closed;
  }

  #drain(): void {
    for (let i = 0; i < READS_PER_TURN && this.#closed === undefined; i++) {
      const length = Number(this.#libc.read(this.#descriptor, this.#frameAt, BigInt(FRAME_BYTES)));
      // Less than nothing: empty, or the device is down; libuv wakes us when there is something again.
      if (length <= 0 || length > FRAME_BYTES) break;
      const frame = this.#frame.subarray(0, length);
      const segmentSize = readVnetHeader(frame);
      if (segmentSize >= 0) this.#receive(frame.subarray(VNET_HEADER), segmentSize);
    }
  }
}
