// Both ends of many WebSockets: the application that takes them, and the browsers that hold them open and note when each is closed.
import { createServer, type AddressInfo } from 'node:net';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { acceptKey, newKey } from '../../../src/publish/http/websocket-key.ts';
import { answerQuestions } from '../http/asking.ts';

/** Connections of one address, so that none has more than a gateway gives it. */
const ofOneAddress = 250;
const together = 20;

/** Servers that switch every request to a WebSocket, which is silent then. */
async function serve(count: number): Promise<readonly number[]> {
  return Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer((socket) => {
        socket.on('error', () => undefined);
        let text = '';
        const head = (chunk: Buffer): void => {
          text += chunk.toString('latin1');
          if (!text.includes('\r\n\r\n')) return;
          socket.off('data', head);
          socket.resume();
          const key = /sec-websocket-key: *([^\r]+)/i.exec(text)?.[1] ?? '';
          socket.write(
            `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptKey(key)}\r\n\r\n`,
          );
        };
        socket.on('data', head);
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', 4_096, resolve));
      return (server.address() as AddressInfo).port;
    }),
  );
}

export interface SocketPlan {
  readonly port: number;
  readonly host: string;
  readonly cookie: string;
  readonly count: number;
}

const open = new Set<TLSSocket>();
/** Wall-clock milliseconds at which each was closed. */
let closedAt: number[] = [];
let emptied: (() => void) | undefined;

async function hold({ port, host, cookie, count }: SocketPlan): Promise<void> {
  closedAt = [];
  for (let begun = 0; begun < count; begun += together) {
    const batch = Array.from({ length: Math.min(together, count - begun) }, (_value, i) => 2 + Math.floor((begun + i) / ofOneAddress));
    await Promise.all(batch.map((address) => upgraded(port, host, cookie, `127.0.0.${address}`)));
  }
}

function upgraded(port: number, host: string, cookie: string, localAddress: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const from: ConnectionOptions & { readonly localAddress: string } = {
      host: '127.0.0.1',
      port,
      servername: host,
      rejectUnauthorized: false,
      ALPNProtocols: ['http/1.1'],
      localAddress,
    };
    const socket = connect(from);
    socket.on('error', reject);
    socket.once('secureConnect', () => {
      socket.write(
        `GET /live HTTP/1.1\r\nHost: ${host}\r\nCookie: ${cookie}\r\nOrigin: https://${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${newKey()}\r\n\r\n`,
      );
    });
    socket.once('data', (chunk: Buffer) => {
      const head = chunk.toString('latin1');
      if (!head.startsWith('HTTP/1.1 101')) return reject(new Error(head.slice(0, 300)));
      open.add(socket);
      socket.removeAllListeners('error');
      socket.on('error', () => undefined);
      const over = (): void => {
        if (!open.delete(socket)) return;
        closedAt.push(performance.timeOrigin + performance.now());
        socket.destroy();
        if (open.size === 0) emptied?.();
      };
      // The close frame or the end of the connection, whichever is seen first.
      socket.once('data', over);
      socket.once('end', over);
      socket.once('close', over);
      resolve();
    });
  });
}

/** When each was closed; rejects where one is still open after that time. */
async function closed(withinMs: number): Promise<readonly number[]> {
  if (open.size > 0) {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${open.size} are still open`)), withinMs);
      emptied = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
  return closedAt;
}

answerQuestions({ serve, hold, closed });
