// UDP of this host's own network, for flows that are carried for peers.
import { createSocket } from 'node:dgram';
import type { Endpoint } from '#lib/net.ts';
import { parseIp } from '#lib/ip.ts';
import type { HostUdp } from '#mesh/index.ts';
import { maxWaitingDatagrams } from './constants.ts';

/**
 * A socket that speaks with one remote end only, the system sees to that. `failed` is called once where it cannot be opened or used, or the
 * remote end refuses.
 */
export function openHostUdp(to: Endpoint, received: (bytes: Uint8Array) => void, failed: () => void): HostUdp {
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
}
