// The door to the kernel's UDP beyond what Node offers: segmentation offload and many messages in one call, through node:ffi. Nothing of it
// leaves this file: what it exports takes and gives bytes and numbers, and every length is checked before the kernel gets a pointer.
//
// Linux on 64-bit little-endian machines. The kernel writes only during a call, into memory that the socket keeps for its life.
import { getSystemErrorMap } from 'node:util';
import { type Ffi, loadFfi } from '#lib/ffi.ts';
import { overlayError } from '../errors.ts';
import { MAX_RUN_BYTES, MAX_RUN_DATAGRAMS, RECEIVE_SLOT_BYTES, RECEIVE_SLOTS, UDP_BUFFER_BYTES } from './constants.ts';
import { MessageVector, UDP_GRO, UDP_SEGMENT, vectorMemoryBytes } from './message-vector.ts';
import { type Readiness, watchDescriptor } from './readiness.ts';
import { decodeSocketAddress, encodeSocketAddress, familyIpv4, familyIpv6, SOCKET_ADDRESS_BYTES } from './socket-address.ts';

/** The system's error numbers that callers tell apart; the same on every Linux that this runs on. */
export const systemErrors = { EINTR: 4, EIO: 5, EAGAIN: 11, EINVAL: 22, EMSGSIZE: 90, EADDRINUSE: 98, ENOBUFS: 105, ECONNREFUSED: 111 } as const;

const dgramNonblockCloexec = 0x2 | 0x800 | 0x80000;
const solSocket = 1;
const sendBuffer = { plain: 7, force: 32 } as const;
const receiveBuffer = { plain: 8, force: 33 } as const;
const solUdp = 17;
const ipprotoIpv6 = 41;
const ipv6Only = 26;

const signatures = {
  socket: { arguments: ['i32', 'i32', 'i32'], return: 'i32' },
  bind: { arguments: ['i32', 'pointer', 'u32'], return: 'i32' },
  getsockname: { arguments: ['i32', 'pointer', 'pointer'], return: 'i32' },
  setsockopt: { arguments: ['i32', 'i32', 'i32', 'pointer', 'u32'], return: 'i32' },
  // Its ssize_t fits, as no message is longer than 64 KiB; a number costs less than a bigint.
  sendmsg: { arguments: ['i32', 'pointer', 'i32'], return: 'i32' },
  recvmmsg: { arguments: ['i32', 'pointer', 'u32', 'i32', 'pointer'], return: 'i32' },
  close: { arguments: ['i32'], return: 'i32' },
  __errno_location: { arguments: [], return: 'pointer' },
} as const;

/** What was loaded once for the process. */
interface Native {
  readonly ffi: Ffi;
  readonly call: ReturnType<typeof bindLibc>['functions'];
  readonly errno: bigint;
}

let native: Native | undefined;

/** Loads the system's functions; throws OVERLAY_NATIVE with the reason where they cannot be used here. */
function load(): Native {
  if (native !== undefined) return native;
  if (process.platform !== 'linux') throw overlayError('OVERLAY_NATIVE', `not on ${process.platform}`);
  if (process.arch !== 'x64' && process.arch !== 'arm64') throw overlayError('OVERLAY_NATIVE', `not on ${process.arch}`);
  const ffi = loadFfi();
  if (ffi === undefined) throw overlayError('OVERLAY_NATIVE', 'this Node has no node:ffi');
  const call = bindLibc(ffi).functions;
  native = { ffi, call, errno: call.__errno_location() };
  return native;
}

function bindLibc(ffi: Ffi) {
  try {
    return ffi.dlopen(null, signatures);
  } catch (error) {
    throw overlayError('OVERLAY_NATIVE', 'libc', error);
  }
}

const slotsBytes = RECEIVE_SLOTS * RECEIVE_SLOT_BYTES;

function ownMemory(bytes: number): Uint8Array {
  return new Uint8Array(new ArrayBuffer(bytes));
}

/** What a port needs of its socket; tests have one of their own. */
export type RawUdpSocket = Pick<NativeSocket, keyof NativeSocket>;

/** One UDP socket. Calls that can fail give the system's error number, negative; nothing throws once it is open. */
export class NativeSocket {
  readonly port: number;
  /** Whether the kernel splits runs of ours, and joins datagrams that come in. */
  readonly segments: boolean;
  readonly joins: boolean;
  /** The messages of the last `receive`. Each has to be `reset` after use. */
  readonly messages: MessageVector;
  readonly #native: Native;
  readonly #fd: number;
  readonly #readiness: Readiness;
  readonly #messagesAddress: bigint;
  #slots: Uint8Array;
  readonly #sent: MessageVector;
  readonly #sentAddress: bigint;
  /** Arguments of calls at the start; kept, so that the memory is there for as long as the call. */
  readonly #scratch = new Uint8Array(new ArrayBuffer(2 * SOCKET_ADDRESS_BYTES));
  #source: ArrayBufferLike | undefined;
  #sourceAddress = 0;
  #closed: Promise<void> | undefined;

  /**
   * Binds a port of the host's address, which names the family. `ready` is called from a turn of the loop when there is something to
   * receive, and room to send after `awaitRoom`. What is received stands in memory of `alloc`. Throws OVERLAY_NATIVE, with the system's code as `system` where it was the system that refused.
   */
  constructor(host: string, port: number, ready: () => void, alloc: (bytes: number) => Uint8Array = ownMemory) {
    this.#native = load();
    const { call } = this.#native;
    const ipv6 = host.includes(':');
    this.#fd = check('socket', this.#result(call.socket(ipv6 ? familyIpv6 : familyIpv4, dgramNonblockCloexec, 0)));
    try {
      if (ipv6) check('IPV6_V6ONLY', this.#option(ipprotoIpv6, ipv6Only, 0));
      for (const { plain, force } of [sendBuffer, receiveBuffer])
        if (this.#option(solSocket, force, UDP_BUFFER_BYTES) < 0) this.#option(solSocket, plain, UDP_BUFFER_BYTES);
      this.segments = this.#option(solUdp, UDP_SEGMENT, 0) === 0;
      this.joins = this.#option(solUdp, UDP_GRO, 1) === 0;
      this.port = this.#bind(ipv6, port, host);
      const received = new Uint8Array(new ArrayBuffer(vectorMemoryBytes(RECEIVE_SLOTS)));
      const receivedAt = this.#address(received.buffer);
      this.#messagesAddress = BigInt(receivedAt);
      const given = alloc(slotsBytes);
      this.#slots = given.length === slotsBytes ? given : ownMemory(slotsBytes);
      this.messages = new MessageVector(received, RECEIVE_SLOTS, receivedAt, this.#addressOf(this.#slots), RECEIVE_SLOT_BYTES);
      const sent = new Uint8Array(new ArrayBuffer(vectorMemoryBytes(1)));
      const sentAt = this.#address(sent.buffer);
      this.#sentAddress = BigInt(sentAt);
      this.#sent = new MessageVector(sent, 1, sentAt, 0, 0);
      this.#readiness = watchDescriptor(this.#fd, ready);
    } catch (error) {
      call.close(this.#fd);
      throw error;
    }
  }

  /** Receives what waits, up to `limit` messages (at most RECEIVE_SLOTS); how many, or the error. */
  receive(limit: number): number {
    if (this.#closed !== undefined) return -systemErrors.EAGAIN;
    if (this.#slots.length !== slotsBytes) {
      // Whoever gave the memory took it back, as WebAssembly does when it grows.
      this.#slots = ownMemory(slotsBytes);
      this.messages.setSlots(this.#addressOf(this.#slots));
    }
    return this.#result(this.#native.call.recvmmsg(this.#fd, this.#messagesAddress, Math.max(1, Math.min(limit, RECEIVE_SLOTS)), 0, 0n));
  }

  /** The payload of message `i`, of which `length` bytes were received; it is overwritten by the next `receive`. */
  payload(i: number, length: number): Uint8Array {
    if (i < 0 || i >= RECEIVE_SLOTS || length < 0 || length > RECEIVE_SLOT_BYTES) return new Uint8Array(0);
    return this.#slots.subarray(i * RECEIVE_SLOT_BYTES, i * RECEIVE_SLOT_BYTES + length);
  }

  /**
   * Sends `length` bytes from `from` on to the address (of `encodeSocketAddress`): one datagram, or, where `size` is not 0, a run of at most
   * MAX_RUN_DATAGRAMS and MAX_RUN_BYTES. 0, or the error.
   */
  send(bytes: Uint8Array, from: number, length: number, size: number, name: Uint8Array): number {
    if (this.#closed !== undefined || from < 0 || length < 0 || from + length > bytes.length) return -systemErrors.EINVAL;
    if (length > MAX_RUN_BYTES || size < 0 || size > MAX_RUN_BYTES || (size > 0 && length > size * MAX_RUN_DATAGRAMS)) return -systemErrors.EMSGSIZE;
    // Asked for once for each buffer. One that was given away since has no bytes, so the check above has failed then.
    const { buffer } = bytes;
    if (buffer !== this.#source) {
      this.#sourceAddress = this.#address(buffer);
      this.#source = buffer;
    }
    this.#sent.prepareSend(this.#sourceAddress + bytes.byteOffset + from, length, name, size);
    for (;;) {
      if (this.#native.call.sendmsg(this.#fd, this.#sentAddress, 0) >= 0) return 0;
      const error = this.#error();
      if (error !== systemErrors.EINTR) return -error;
    }
  }

  /** Whether `ready` is wanted, too, when there is room in the socket's buffer. */
  awaitRoom(wanted: boolean): void {
    if (this.#closed === undefined) this.#readiness.awaitRoom(wanted);
  }

  /** Stops at once; resolves when nothing of it is left. */
  close(): Promise<void> {
    this.#source = undefined;
    this.#closed ??= this.#readiness.close().then(() => void this.#native.call.close(this.#fd));
    return this.#closed;
  }

  #bind(ipv6: boolean, port: number, host: string): number {
    const { call } = this.#native;
    const wanted = encodeSocketAddress({ address: host, port }, ipv6);
    if (wanted === undefined) throw overlayError('OVERLAY_NATIVE', `${host} is no address of the family`);
    const address = BigInt(this.#address(this.#scratch.buffer));
    this.#scratch.set(wanted);
    check('bind', this.#result(call.bind(this.#fd, address, wanted.length)));
    const length = new DataView(this.#scratch.buffer, SOCKET_ADDRESS_BYTES);
    length.setUint32(0, SOCKET_ADDRESS_BYTES, true);
    check('getsockname', this.#result(call.getsockname(this.#fd, address, address + BigInt(SOCKET_ADDRESS_BYTES))));
    const own = decodeSocketAddress(this.#scratch.subarray(0, Math.min(length.getUint32(0, true), SOCKET_ADDRESS_BYTES)));
    if (own === undefined) throw overlayError('OVERLAY_NATIVE', 'the system tells no port');
    return own.port;
  }

  #option(level: number, name: number, value: number): number {
    new DataView(this.#scratch.buffer).setInt32(0, value, true);
    return this.#result(this.#native.call.setsockopt(this.#fd, level, name, BigInt(this.#address(this.#scratch.buffer)), 4));
  }

  /** Where the memory is; it stays there for as long as the buffer is not given away. */
  #address(buffer: ArrayBufferLike): number {
    return Number(this.#native.ffi.getRawPointer(buffer as ArrayBuffer));
  }

  #addressOf(bytes: Uint8Array): number {
    return this.#address(bytes.buffer) + bytes.byteOffset;
  }

  #result(result: number): number {
    return result < 0 ? -this.#error() : result;
  }

  #error(): number {
    return this.#native.ffi.getInt32(this.#native.errno, 0);
  }
}

function check(call: string, result: number): number {
  if (result >= 0) return result;
  const code = getSystemErrorMap().get(result)?.[0] ?? `errno ${-result}`;
  throw Object.assign(overlayError('OVERLAY_NATIVE', `${call}: ${code}`), { system: code });
}
