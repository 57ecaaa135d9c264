// What Node does not ask the system for a TCP socket, through node:ffi. Where that cannot be, everything works without.
//
// Sending at once: the kernel takes the bytes during the call, so that their memory, mostly the shared read buffer, is free when it returns. Node's own write would hold on to them while the socket is full, and so they would have to be copied first. Only while nothing waits
// in the socket: the order of bytes is Node's to keep otherwise.
//
// How long what was sent may stay unacknowledged (TCP_USER_TIMEOUT): a peer that has vanished is found out by probes while nothing is sent, but
// while something is on its way the system would try for a quarter of an hour.
import { Socket } from 'node:net';
import { loadFfi } from './ffi.ts';
import { sharedReadBuffer } from './lending-socket.ts';

/** MSG_DONTWAIT and MSG_NOSIGNAL of Linux. */
const flags = 0x40 | 0x4000;

const ipprotoTcp = 6;
const tcpUserTimeout = 18;

const signatures = {
  // Its size_t and ssize_t fit, as no read is longer than the buffer; numbers cost less than bigints.
  send: { arguments: ['i32', 'pointer', 'u32', 'i32'], return: 'i32' },
  setsockopt: { arguments: ['i32', 'i32', 'i32', 'pointer', 'u32'], return: 'i32' },
} as const;

/** Bytes from elsewhere are copied here first: their memory may be anywhere, and asking where costs more than a small copy. */
const copied = Buffer.allocUnsafeSlow(64 * 1024);

const native = bind();

/**
 * Gives the kernel bytes, out of the shared read buffer where they stand. How many it took: fewer than there are where it is full, 0 where that or
 * anything else, an error for one, is for `write` to find out.
 */
export function sendAtOnce(socket: Socket, bytes: Uint8Array): number {
  if (native === undefined || bytes.length === 0 || socket.writableLength > 0 || socket.writableCorked > 0) return 0;
  if (!socket.writable || socket.connecting) return 0;
  const descriptor = descriptorOf(socket);
  if (descriptor < 0) return 0;
  if (bytes.buffer === sharedReadBuffer.buffer) {
    const at = native.address + BigInt(bytes.byteOffset - sharedReadBuffer.byteOffset);
    return Math.max(0, native.call.send(descriptor, at, bytes.length, flags));
  }
  let sent = 0;
  for (let whole = true; whole && sent < bytes.length;) {
    const part = bytes.length <= copied.length ? bytes : bytes.subarray(sent, sent + copied.length);
    copied.set(part);
    const took = Math.max(0, native.call.send(descriptor, native.copiedAddress, part.length, flags));
    whole = took === part.length;
    sent += took;
  }
  return sent;
}

/**
 * Finds a peer out that has vanished: after `idleMs` of silence it is probed once a second, ten times at most, and what was sent is waited for until
 * `unheardMs` have passed (Linux with node:ffi; elsewhere as long as the system likes). Then the socket fails with ETIMEDOUT.
 */
export function watchPeer(socket: Socket, idleMs: number, unheardMs: number): void {
  socket.setKeepAlive(true, idleMs);
  const descriptor = descriptorOf(socket);
  if (native === undefined || descriptor < 0) return;
  native.number.setUint32(0, unheardMs, true);
  native.call.setsockopt(descriptor, ipprotoTcp, tcpUserTimeout, native.numberAddress, 4);
}

/** Of a TCP socket that is open; of TLS the handle is another, and its bytes are not for the wire. -1 where there is none. */
function descriptorOf(socket: Socket): number {
  const { _handle: handle } = socket as unknown as { readonly _handle?: { readonly fd: number } | null };
  return handle === null || handle === undefined || handle.constructor.name !== 'TCP' ? -1 : handle.fd;
}

function bind() {
  if (process.platform !== 'linux' || (process.arch !== 'x64' && process.arch !== 'arm64')) return undefined;
  try {
    const ffi = loadFfi();
    if (ffi === undefined) return undefined;
    const number = new DataView(new ArrayBuffer(4));
    return {
      call: ffi.dlopen(null, signatures).functions,
      address: ffi.getRawPointer(sharedReadBuffer),
      copiedAddress: ffi.getRawPointer(copied),
      number,
      numberAddress: ffi.getRawPointer(number.buffer),
    };
  } catch {
    return undefined;
  }
}
