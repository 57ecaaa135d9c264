// Borrowed bytes on their way to a socket: copied into pieces of memory that are used again once they have been sent, instead of fresh
// memory for each, which costs more than the copy: pages to be made, and collections that external memory asks for.
import type { Socket } from 'node:net';
import { COALESCE_BYTES, LENT_PIECE_BYTES, LENT_PIECES } from '../constants.ts';

/** All connections share them: one that rests holds none. */
const free: Buffer[] = [];

/** Whether the socket has room for more. */
export function writeLent(socket: Socket, bytes: Buffer): boolean {
  if (bytes.length <= COALESCE_BYTES) return socket.write(Buffer.from(bytes));
  let room = true;
  for (let at = 0; at < bytes.length; at += LENT_PIECE_BYTES) {
    const piece = free.pop() ?? Buffer.allocUnsafeSlow(LENT_PIECE_BYTES);
    const length = bytes.copy(piece, 0, at, at + LENT_PIECE_BYTES);
    room = socket.write(piece.subarray(0, length), (error) => {
      // After an error the socket may still hold what it did not send.
      if ((error === null || error === undefined) && free.length < LENT_PIECES) free.push(piece);
    });
  }
  return room;
}
