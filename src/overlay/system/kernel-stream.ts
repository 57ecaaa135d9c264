// A kernel TCP socket with the manners of an overlay stream: `destroy()` resets, so that what was cut off never looks complete.
import type { Socket } from 'node:net';

/** Changes what the socket's `destroy` does, and returns the socket. */
export function resetOnDestroy(socket: Socket): Socket {
  const destroy = socket.destroy.bind(socket);
  let cause: Error | undefined;
  let resetting = false;
  socket.destroy = (error?: Error): Socket => {
    const complete = error === undefined && socket.readableEnded && socket.writableFinished;
    if (resetting || complete || socket.destroyed || socket.connecting) return destroy(error ?? cause);
    resetting = true;
    cause = error;
    return socket.resetAndDestroy(); // which comes back here
  };
  return socket;
}
