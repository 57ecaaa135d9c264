// A plain TCP client of the kernel's in a namespace: sends bytes to what is asked for, and says how that went.
import { connect } from 'node:net';
import { seededBytes } from '../../support/seeded.ts';

process.on('message', ({ host, port, bytes }: { host: string; port: number; bytes: number }) => {
  const sent = Buffer.alloc(bytes);
  seededBytes(bytes)(sent);
  const received: Buffer[] = [];
  const socket = connect({ host, port, allowHalfOpen: true });
  socket.on('data', (chunk: Buffer) => received.push(chunk));
  socket.once('error', (error) => process.send?.('code' in error ? error.code : error.message));
  socket.once('end', () => {
    socket.destroy();
    process.send?.(Buffer.concat(received).equals(sent) ? 'same' : 'different');
  });
  socket.write(sent, () => (port === 7 ? socket.end() : undefined));
});
process.on('disconnect', () => process.exit());
