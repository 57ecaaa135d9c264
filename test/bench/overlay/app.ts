// The application at both ends of every subject that runs in Node: a server that sends or echoes, a download and a ping-pong.
import { randomBytes } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { canLend } from '#lib/lending.ts';
import type { Dial, DialTarget } from '#lib/net.ts';
import { CHUNK_BYTES, ECHO, PING_BYTES, SEND, type BulkResult } from './protocol.ts';

const dialMs = 15_000;
const chunk = randomBytes(CHUNK_BYTES);

/** Serves one connection until it is closed. */
export function serve(stream: Duplex): void {
  stream.on('error', () => undefined);
  stream.once('data', (first: Buffer) => {
    if (first[0] === SEND) {
      stream.on('drain', () => pump(stream));
      pump(stream);
    } else {
      stream.on('data', (ping: Buffer) => stream.write(ping));
    }
  });
}

function pump(stream: Duplex): void {
  while (!stream.destroyed && stream.write(chunk));
}

/** Downloads over `streams` connections at once for so long; the time begins when all are open. */
export async function download(dial: Dial, to: DialTarget, streams: number, seconds: number): Promise<BulkResult> {
  const open = await Promise.all(Array.from({ length: streams }, () => dial(to, { signal: AbortSignal.timeout(dialMs) })));
  let bytes = 0;
  let lost: Error | undefined;
  const begun = performance.now();
  for (const stream of open) {
    // As lean as iperf3: what is only counted is not copied.
    if (canLend(stream)) {
      stream.lend((part) => {
        bytes += part.length;
        return true;
      });
    } else {
      stream.on('data', (part: Buffer) => (bytes += part.length));
    }
    stream.on('error', (error) => (lost ??= error));
    stream.write(Buffer.of(SEND));
  }
  await new Promise((done) => {
    setTimeout(done, seconds * 1000);
  });
  const result = { bytes, seconds: (performance.now() - begun) / 1000 };
  const failed = lost;
  for (const stream of open) stream.destroy();
  if (failed !== undefined) throw failed;
  return result;
}

/** Ping-pong on one connection for so long; the first hundred exchanges are not counted. */
export async function pingPong(dial: Dial, to: DialTarget, seconds: number): Promise<readonly number[]> {
  const stream = await dial(to, { signal: AbortSignal.timeout(dialMs) });
  const ping = Buffer.alloc(PING_BYTES, 1);
  const times: number[] = [];
  const until = performance.now() + seconds * 1000;
  await new Promise<void>((resolve, reject) => {
    let sent = 0;
    let missing = 0;
    const send = (): void => {
      missing = PING_BYTES;
      sent = performance.now();
      stream.write(ping);
    };
    stream.on('error', reject);
    stream.on('data', (part: Buffer) => {
      missing -= part.length;
      if (missing > 0) return;
      const now = performance.now();
      times.push(now - sent);
      if (now < until) send();
      else resolve();
    });
    // The first byte says what is wanted; the server answers from the second part on.
    stream.write(Buffer.of(ECHO));
    setTimeout(send, 50);
  });
  stream.destroy();
  return times.length > 200 ? times.slice(100) : times;
}
