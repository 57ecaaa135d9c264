// Datagrams, over the kernel's sockets or an overlay's: a sender that keeps to a rate or floods, and a receiver that counts.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import type { Endpoint } from '#lib/net.ts';
import type { Overlay } from '#overlay/index.ts';

/** Sent in one turn of the event loop. */
const burst = 64;
/** What is still on its way when the sender stops. */
const graceMs = 200;

export interface DatagramSocket {
  send(bytes: Uint8Array, to: Endpoint): void;
  /** Whether the system has taken what was sent. */
  idle(): boolean;
  close(): void;
}

/** Binds a port, 0 for any. */
export type BindDatagrams = (port: number, receive: () => void) => Promise<DatagramSocket>;

export const bindKernel: BindDatagrams = async (port, receive) => {
  // Addresses are literal: nothing is looked up.
  const socket = createSocket({ type: 'udp4', lookup: (host, _options, done) => done(null, host, 4) });
  socket.on('message', receive);
  const listening = once(socket, 'listening');
  socket.bind(port);
  await listening;
  return {
    send: (bytes, to) => socket.send(bytes, to.port, to.address),
    idle: () => socket.getSendQueueCount() === 0,
    close: () => socket.close(),
  };
};

export function bindOverlay(overlay: Overlay): BindDatagrams {
  return async (port, receive) => {
    const socket = await overlay.bindUdp(port, receive);
    return { send: (bytes, to) => socket.send(bytes, to), idle: () => true, close: () => socket.close() };
  };
}

export async function countDatagrams(bind: BindDatagrams, port: number, seconds: number): Promise<number> {
  let count = 0;
  const socket = await bind(port, () => count++);
  await new Promise((done) => {
    setTimeout(done, seconds * 1000 + graceMs);
  });
  socket.close();
  return count;
}

/** Sends so many a second, or as many as it can; the number that was sent. */
export async function sendDatagrams(
  bind: BindDatagrams,
  to: Endpoint,
  bytes: number,
  perSecond: number | undefined,
  seconds: number,
): Promise<number> {
  const socket = await bind(0, () => undefined);
  const payload = Buffer.alloc(bytes, 1);
  const begun = performance.now();
  let sent = 0;
  for (;;) {
    const elapsed = (performance.now() - begun) / 1000;
    if (elapsed >= seconds) break;
    const due = perSecond === undefined ? burst : Math.min(burst, Math.floor(elapsed * perSecond) - sent);
    for (let i = 0; i < due; i++) socket.send(payload, to);
    sent += Math.max(0, due);
    do {
      await new Promise((done) => {
        setImmediate(done);
      });
    } while (!socket.idle());
  }
  socket.close();
  return sent;
}
