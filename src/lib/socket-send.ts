// Sending what stands in the shared read buffer at once, through node:ffi: the kernel takes the bytes out of it during the call, so that they are
// free when it returns. Node's own write would hold on to them while the socket is full, and so they would have to be copied first.
//
// Only for TCP sockets of this process, and only while nothing waits in them: the order of bytes is Node's to keep otherwise.
import { Socket } from 'node:net';
import { loadFfi } from './ffi.ts';
import { sharedReadBuffer } from './lending-socket.ts';

/** MSG_DONTWAIT and MSG_NOSIGNAL of Linux. */
const flags = 0x40 | 0x4000;

type Send = (fd: number, from: bigint, length: number, flags: number) => number;

const native = bind();

/**
 * Gives the kernel bytes of the shared read buffer. How many it took: fewer than there are where it is full, 0 where that or anything else, an
 * error for one, is for `write` to find out.
 */
export function sendAtOnce(socket: Socket, bytes: Uint8Array): number {
  if (native === undefined || bytes.buffer !== sharedReadBuffer.buffer || bytes.length === 0) return 0;
  if (socket.writableLength > 0 || socket.writableCorked > 0 || !socket.writable || socket.connecting) return 0;
  const { _handle: handle } = socket as unknown as { readonly _handle?: { readonly fd: number } | null };
  // Of TLS the handle is another, and its bytes are not for the wire.
  if (handle === null || handle === undefined || handle.constructor.name !== 'TCP' || handle.fd < 0) return 0;
  const sent = native.send(handle.fd, native.address + BigInt(bytes.byteOffset - sharedReadBuffer.byteOffset), bytes.length, flags);
  return Math.max(0, sent);
}

function bind(): { readonly send: Send; readonly address: bigint } | undefined {
  if (process.platform !== 'linux' || (process.arch !== 'x64' && process.arch !== 'arm64')) return undefined;
  try {
    const ffi = loadFfi();
    // Its size_t and ssize_t fit, as no read is longer than the buffer; numbers cost less than bigints.
    const functions = ffi?.dlopen(null, { send: { arguments: ['i32', 'pointer', 'u32', 'i32'], return: 'i32' } }).functions;
    if (ffi === undefined || functions === undefined) return undefined;
    return { send: functions.send, address: ffi.getRawPointer(sharedReadBuffer) };
  } catch {
    return undefined;
  }
}
