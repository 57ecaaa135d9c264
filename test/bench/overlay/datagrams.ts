// Datagrams over the kernel's sockets: a sender that keeps to a rate or floods, and a receiver that counts.
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';

/** Sent in one turn of the event loop. */
const burst = 64;
/** What is still on its way when the sender stops. */
const graceMs = 200;

export async function countDatagrams(port: number, seconds: number): Promise<number> {
  const socket = createSocket('udp4');
  let count = 0;
  socket.on('message', () => count++);
  socket.bind(port);
  await once(socket, 'listening');
  await pause(seconds * 1000 + graceMs);
  socket.close();
  return count;
}

/** Sends so many a second, or as many as it can; the number that was sent. */
export async function sendDatagrams(host: string, port: number, bytes: number, perSecond: number | undefined, seconds: number): Promise<number> {
  const socket = createSocket('udp4');
  socket.connect(port, host);
  await once(socket, 'connect');
  const payload = Buffer.alloc(bytes, 1);
  const begun = performance.now();
  let sent = 0;
  for (;;) {
    const elapsed = (performance.now() - begun) / 1000;
    if (elapsed >= seconds) break;
    const due = perSecond === undefined ? burst : Math.min(burst, Math.floor(elapsed * perSecond) - sent);
    for (let i = 0; i < due; i++) socket.send(payload);
    sent += Math.max(0, due);
    await nextTurn(socket);
  }
  socket.close();
  return sent;
}

/** The next turn of the loop, when the kernel has taken what was sent. */
async function nextTurn(socket: Socket): Promise<void> {
  do {
    await new Promise((done) => {
      setImmediate(done);
    });
  } while (socket.getSendQueueCount() > 0);
}

function pause(ms: number): Promise<void> {
  return new Promise((done) => {
    setTimeout(done, ms);
  });
}
