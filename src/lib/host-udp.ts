// UDP of this host's own network, one socket for each remote end.
import { createSocket } from 'node:dgram';
import { parseIp } from './ip.ts';
import type { OpenUdpFlow } from './net.ts';

/** Datagrams that wait for their socket to open; more are dropped. */
export const maxWaitingDatagrams = 16;

/**
 * A socket that speaks with one remote end only, the system sees to that. `failed` is called once where it cannot be opened or used, or the
 * remote end refuses.
 */
export const openHostUdp: OpenUdpFlow = (to, received, failed) => {
  const socket = createSocket(parseIp(to.address)?.family === 6 ? 'udp6' : 'udp4');
  let state: 'opening' | 'open' | 'closed' = 'opening';
  const waiting: Uint8Array[] = [];
  const close = (): void => {
    if (state === 'closed') return;
    state = 'closed';
    waiting.length = 0;
    socket.close();
  };
  socket.on('error', () => {
    if (state === 'closed') return;
    close();
    failed();
  });
  socket.on('message', (bytes) => {
    if (state === 'open') received(bytes);
  });
  socket.once('connect', () => {
    if (state === 'closed') return;
    state = 'open';
    for (const bytes of waiting.splice(0)) socket.send(bytes);
  });
  socket.connect(to.port, to.address);
  return {
    send: (bytes) => {
      // The bytes are the caller's again when this returns, and the socket keeps them for longer.
      if (state === 'open') socket.send(Uint8Array.from(bytes));
      else if (state === 'opening' && waiting.length < maxWaitingDatagrams) waiting.push(Uint8Array.from(bytes));
    },
    close,
  };
};
