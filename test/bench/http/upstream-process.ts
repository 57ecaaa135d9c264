// An upstream whose body never ends, for slow readers: it counts what it could hand on.
import { createServer, type AddressInfo } from 'node:net';
import { answerQuestions } from './asking.ts';

const piece = Buffer.alloc(64 * 1024, 0x61);
let sent = 0;

function start(): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n');
      const more = (): void => {
        while (!socket.destroyed) {
          sent += piece.length;
          if (!socket.write(piece)) break;
        }
      };
      socket.on('drain', more);
      more();
    });
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)));
}

answerQuestions({ start, sent: () => sent });
