// Many UDP sockets, each with one remote end, for the price of one: they share the memory that they receive into and one epoll descriptor,
// which the event loop watches. So a flow costs a descriptor and an object, and a datagram no event of its own.
//
// As in ffi-udp.ts the kernel writes only during a call, into memory that is kept, and what comes back is checked.
import { DatagramRun } from '#lib/datagram-run.ts';
import { type Ffi, loadFfi } from '#lib/ffi.ts';
import type { Endpoint, OpenUdpFlow, UdpFlow } from '#lib/net.ts';
import { overlayError } from '../errors.ts';
import { FLOW_EVENTS, FLOW_RECEIVE_SLOTS, FLOW_TURN_DATAGRAMS, MAX_RUN_BYTES, MAX_RUN_DATAGRAMS, RECEIVE_SLOT_BYTES } from './constants.ts';
import { systemErrors } from './ffi-udp.ts';
import { MessageVector, vectorMemoryBytes } from './message-vector.ts';
import { type Readiness, watchDescriptor } from './readiness.ts';
import { encodeSocketAddress, familyIpv4, familyIpv6 } from './socket-address.ts';

const dgramNonblockCloexec = 0x2 | 0x800 | 0x80000;
const epollCloexec = 0x80000;
const controlAdd = 1;
const epollIn = 1;
/** MSG_DONTWAIT and MSG_NOSIGNAL. */
const sendFlags = 0x40 | 0x4000;
/** `struct epoll_event` is packed on x64 only. */
const eventBytes = process.arch === 'x64' ? 12 : 16;
const eventDataAt = eventBytes - 8;

const signatures = {
  socket: { arguments: ['i32', 'i32', 'i32'], return: 'i32' },
  connect: { arguments: ['i32', 'pointer', 'u32'], return: 'i32' },
  send: { arguments: ['i32', 'pointer', 'u32', 'i32'], return: 'i32' },
  sendmsg: { arguments: ['i32', 'pointer', 'i32'], return: 'i32' },
  recvmmsg: { arguments: ['i32', 'pointer', 'u32', 'i32', 'pointer'], return: 'i32' },
  epoll_create1: { arguments: ['i32'], return: 'i32' },
  epoll_ctl: { arguments: ['i32', 'i32', 'i32', 'pointer'], return: 'i32' },
  epoll_wait: { arguments: ['i32', 'pointer', 'i32', 'i32'], return: 'i32' },
  close: { arguments: ['i32'], return: 'i32' },
  __errno_location: { arguments: [], return: 'pointer' },
} as const;

function bindLibc(ffi: Ffi) {
  try {
    return ffi.dlopen(null, signatures);
  } catch (error) {
    throw overlayError('OVERLAY_NATIVE', 'libc', error);
  }
}

/** A socket with one remote end is told no receiver. */
const nobody = new Uint8Array(0);

let flows: NativeFlows | undefined;

/** As `openHostUdp`, in the memory and with the system calls of all of them together. Throws OVERLAY_NATIVE where that cannot be here. */
export const openNativeUdp: OpenUdpFlow = (to, received, failed, receivedRun) => {
  flows ??= new NativeFlows();
  return flows.open(to, { received, failed, receivedRun });
};

interface OpenFlow {
  readonly received: (bytes: Uint8Array) => void;
  readonly failed: () => void;
  readonly receivedRun: ((run: Uint8Array, size: number) => void) | undefined;
}

class NativeFlows {
  readonly #ffi: Ffi;
  readonly #call: ReturnType<typeof bindLibc>['functions'];
  readonly #errno: bigint;
  readonly #poller: number;
  readonly #readiness: Readiness;
  readonly #open = new Map<number, OpenFlow>();
  readonly #events = memory(FLOW_EVENTS * eventBytes);
  readonly #eventView: DataView;
  readonly #eventsAddress: bigint;
  readonly #slots = memory(FLOW_RECEIVE_SLOTS * RECEIVE_SLOT_BYTES);
  readonly #messages: MessageVector;
  readonly #messagesAddress: bigint;
  readonly #sent: MessageVector;
  readonly #sentAddress: bigint;
  readonly #run = new DatagramRun((run, size) => this.#receiving?.receivedRun?.(run, size));
  #receiving: OpenFlow | undefined;
  #source: ArrayBufferLike | undefined;
  #sourceAddress = 0n;

  constructor() {
    const ffi = process.platform === 'linux' && (process.arch === 'x64' || process.arch === 'arm64') ? loadFfi() : undefined;
    if (ffi === undefined) throw overlayError('OVERLAY_NATIVE', 'this system or this Node has no such calls');
    this.#ffi = ffi;
    this.#call = bindLibc(ffi).functions;
    this.#errno = this.#call.__errno_location();
    this.#eventView = new DataView(this.#events.buffer);
    this.#eventsAddress = ffi.getRawPointer(this.#events);
    const vector = memory(vectorMemoryBytes(FLOW_RECEIVE_SLOTS));
    this.#messagesAddress = ffi.getRawPointer(vector);
    this.#messages = new MessageVector(
      vector,
      FLOW_RECEIVE_SLOTS,
      Number(this.#messagesAddress),
      Number(ffi.getRawPointer(this.#slots)),
      RECEIVE_SLOT_BYTES,
    );
    const sent = memory(vectorMemoryBytes(1));
    this.#sentAddress = ffi.getRawPointer(sent);
    this.#sent = new MessageVector(sent, 1, Number(this.#sentAddress), 0, 0);
    this.#poller = this.#call.epoll_create1(epollCloexec);
    if (this.#poller < 0) throw overlayError('OVERLAY_NATIVE', `epoll_create1: ${this.#error()}`);
    try {
      // The handle stays for the process's life, and keeps it alive only while there are flows.
      this.#readiness = watchDescriptor(this.#poller, () => this.#work());
      this.#readiness.ref(false);
    } catch (error) {
      this.#call.close(this.#poller);
      throw error;
    }
  }

  open(to: Endpoint, flow: OpenFlow): UdpFlow {
    const socket = this.#connect(to);
    const close = (): void => {
      if (this.#open.get(socket) !== flow) return;
      this.#open.delete(socket);
      this.#call.close(socket);
      if (this.#open.size === 0) this.#readiness.ref(false);
    };
    const fail = (): void => {
      if (this.#open.get(socket) !== flow) return;
      close();
      flow.failed();
    };
    if (socket < 0) {
      let closed = false;
      setImmediate(() => (closed ? undefined : flow.failed()));
      return { send: () => undefined, close: () => void (closed = true) };
    }
    if (this.#open.size === 0) this.#readiness.ref(true);
    this.#open.set(socket, flow);
    let runs = true;
    const send = (bytes: Uint8Array): void => {
      if (this.#open.get(socket) !== flow) return;
      // A full buffer loses the datagram, as the network would; what the far end has refused is told in another turn.
      if (this.#call.send(socket, this.#addressOf(bytes), bytes.length, sendFlags) >= 0) return;
      if (this.#error() === systemErrors.ECONNREFUSED) setImmediate(fail);
    };
    return {
      send,
      sendRun: (run, size) => {
        if (this.#open.get(socket) !== flow) return;
        const error = runs && run.length <= MAX_RUN_BYTES && run.length <= size * MAX_RUN_DATAGRAMS ? this.#sendRun(socket, run, size) : -1;
        if (error === 0 || error === systemErrors.EAGAIN) return;
        // The way there may have no such offload, or not for this size. That is found out once.
        if (error === systemErrors.EIO || error === systemErrors.EINVAL || error === systemErrors.EMSGSIZE) runs = false;
        for (let at = 0; at < run.length; at += size) send(run.subarray(at, at + size));
      },
      close,
    };
  }

  /** 0, or the error. */
  #sendRun(socket: number, run: Uint8Array, size: number): number {
    this.#sent.prepareSend(Number(this.#addressOf(run)), run.length, nobody, size);
    return this.#call.sendmsg(socket, this.#sentAddress, sendFlags) >= 0 ? 0 : this.#error();
  }

  /** The descriptor, or -1. */
  #connect(to: Endpoint): number {
    const ipv6 = to.address.includes(':');
    const name = encodeSocketAddress(to, ipv6);
    if (name === undefined) return -1;
    const socket = this.#call.socket(ipv6 ? familyIpv6 : familyIpv4, dgramNonblockCloexec, 0);
    if (socket < 0) return -1;
    this.#eventView.setUint32(0, epollIn, true);
    this.#eventView.setUint32(eventDataAt, socket, true);
    this.#eventView.setUint32(eventDataAt + 4, 0, true);
    const there =
      this.#call.connect(socket, this.#ffi.getRawPointer(name), name.length) === 0 &&
      this.#call.epoll_ctl(this.#poller, controlAdd, socket, this.#eventsAddress) === 0;
    if (there) return socket;
    this.#call.close(socket);
    return -1;
  }

  #work(): void {
    const count = this.#call.epoll_wait(this.#poller, this.#eventsAddress, FLOW_EVENTS, 0);
    if (count <= 0) return;
    // Receiving opens flows perhaps, and those write where the events stand.
    const ready: number[] = [];
    for (let i = 0; i < count; i++) ready.push(this.#eventView.getUint32(i * eventBytes + eventDataAt, true));
    for (let i = 0, left = FLOW_TURN_DATAGRAMS; i < count && left > 0; i++) left -= this.#receive(ready[i] ?? -1);
  }

  /** What waits at one of them, up to a bound; the event comes again for the rest. */
  #receive(socket: number): number {
    const flow = this.#open.get(socket);
    if (flow === undefined) return 0;
    const count = this.#call.recvmmsg(socket, this.#messagesAddress, FLOW_RECEIVE_SLOTS, 0, 0n);
    if (count < 0) {
      const error = this.#error();
      if (error !== systemErrors.EAGAIN && error !== systemErrors.EINTR) {
        this.#open.delete(socket);
        this.#call.close(socket);
        if (this.#open.size === 0) this.#readiness.ref(false);
        flow.failed();
      }
      return 1;
    }
    this.#receiving = flow;
    for (let i = 0; i < count; i++) {
      const length = this.#messages.payloadLength(i);
      this.#messages.reset(i);
      if (length < 0 || length > RECEIVE_SLOT_BYTES || this.#open.get(socket) !== flow) continue;
      const bytes = this.#slots.subarray(i * RECEIVE_SLOT_BYTES, i * RECEIVE_SLOT_BYTES + length);
      if (count > 1 && flow.receivedRun !== undefined) this.#run.add(bytes, length);
      else flow.received(bytes);
    }
    this.#run.flush();
    return count;
  }

  #addressOf(bytes: Uint8Array): bigint {
    // Asked for once for each buffer: datagrams come out of few.
    if (bytes.buffer !== this.#source) {
      this.#sourceAddress = this.#ffi.getRawPointer(bytes.buffer as ArrayBuffer);
      this.#source = bytes.buffer;
    }
    return this.#sourceAddress + BigInt(bytes.byteOffset);
  }

  #error(): number {
    return this.#ffi.getInt32(this.#errno, 0);
  }
}

function memory(bytes: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new ArrayBuffer(bytes));
}
