// UDP to one peer or network of the overlay, as a flow of its own.
import { parseIp, sameIp } from '#lib/ip.ts';
import type { OpenUdpFlow } from '#lib/net.ts';
import type { Overlay } from '#mesh/index.ts';
import { maxWaitingDatagrams } from './constants.ts';

/** Each flow has a port of its own at our overlay address; what comes from anywhere but its far end is dropped. */
export function openOverlayUdp(overlay: Pick<Overlay, 'bindUdp'>): OpenUdpFlow {
  return (to, received, failed) => {
    const far = parseIp(to.address);
    let waiting: Uint8Array[] = [];
    let socket: Awaited<ReturnType<Overlay['bindUdp']>> | undefined;
    let closed = false;
    const receive = (bytes: Uint8Array, from: { readonly address: string; readonly port: number }): void => {
      const ip = parseIp(from.address);
      if (!closed && ip !== undefined && far !== undefined && from.port === to.port && sameIp(ip, far)) received(bytes);
    };
    overlay.bindUdp(0, receive).then(
      (bound) => {
        if (closed) return bound.close();
        socket = bound;
        for (const bytes of waiting) bound.send(bytes, to);
        waiting = [];
      },
      () => {
        if (!closed) failed();
        closed = true;
      },
    );
    return {
      send: (bytes) => {
        if (socket !== undefined) socket.send(bytes, to);
        else if (!closed && waiting.length < maxWaitingDatagrams) waiting.push(Uint8Array.from(bytes));
      },
      close: () => {
        closed = true;
        waiting = [];
        socket?.close();
      },
    };
  };
}
