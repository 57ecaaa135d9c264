// What hostile clients need: bytes from a seed, raw connections that keep whatever comes back, datagrams in bulk.
import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { connect as connectTcp, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { connect as connectTls, type TLSSocket } from 'node:tls';

/** Mulberry32: enough to be different each time and the same at every run. */
export class Seeded {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 0 ≤ n < limit. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
  }

  bytes(length: number): Buffer {
    const out = Buffer.alloc(length);
    for (let i = 0; i < length; i++) out[i] = this.below(256);
    return out;
  }

  /** A copy with one to eight bytes changed. */
  mutate(bytes: Uint8Array): Buffer {
    const out = Buffer.from(bytes);
    for (let left = 1 + this.below(8); left > 0; left--) out[this.below(out.length)] = this.below(256);
    return out;
  }
}

/** What a raw connection got back until it was closed, or until nothing more was waited for. */
export interface RawAnswer {
  readonly bytes: Buffer;
  readonly text: string;
  /** Whether the other side ended it within the time. */
  readonly closed: boolean;
}

/** Sends the parts one after the other and collects the answer until the other side closes, `enough` says so, or the time is over. */
export function exchange(
  socket: Socket,
  parts: Iterable<Uint8Array | string>,
  waitMs: number,
  enough: (text: string) => boolean = () => false,
): Promise<RawAnswer> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    const done = (closed: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      const bytes = Buffer.concat(chunks);
      resolve({ bytes, text: bytes.toString('latin1'), closed });
    };
    const timer = setTimeout(() => done(false), waitMs);
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      if (enough(Buffer.concat(chunks).toString('latin1'))) done(false);
    });
    socket.on('error', () => undefined);
    socket.once('close', () => done(true));
    for (const part of parts) if (socket.writable) socket.write(part);
  });
}

export function rawTcp(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connectTcp(port, '127.0.0.1', () => resolve(socket.off('error', reject)));
    socket.once('error', reject);
  });
}

export interface TlsTarget {
  readonly port: number;
  readonly caFile: string;
  readonly servername: string;
}

export function rawTls(target: TlsTarget, protocols: readonly string[] = ['http/1.1']): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connectTls(
      {
        host: '127.0.0.1',
        port: target.port,
        servername: target.servername,
        ca: readFileSync(target.caFile, 'utf8'),
        ALPNProtocols: [...protocols],
      },
      () => resolve(socket.off('error', reject)),
    );
    socket.once('error', reject);
  });
}

/** The ClientHello that Node's TLS client sends for a name: the raw material of mutations. */
export function clientHello(servername: string | undefined): Promise<Buffer> {
  return new Promise((resolve) => {
    const pipe = new Duplex({
      read: () => undefined,
      write: (chunk: Buffer) => {
        resolve(Buffer.from(chunk));
        setImmediate(() => client.destroy());
      },
    });
    const client = connectTls({ socket: pipe, ...(servername === undefined ? {} : { servername }), ALPNProtocols: ['http/1.1'] });
    client.on('error', () => undefined);
  });
}

/** Sends datagrams to loopback, yielding so that the receiver's socket keeps up a little; resolves with the number of answers and their bytes. */
export async function datagrams(port: number, packets: Iterable<Uint8Array>, settleMs: number): Promise<{ sent: number; answers: Buffer[] }> {
  const socket = createSocket('udp4');
  const answers: Buffer[] = [];
  socket.on('message', (message) => answers.push(message));
  await new Promise<void>((done) => socket.bind(0, '127.0.0.1', done));
  let sent = 0;
  for (const packet of packets) {
    await new Promise<void>((done) => socket.send(packet, port, '127.0.0.1', () => done()));
    sent++;
  }
  await new Promise((done) => {
    setTimeout(done, settleMs);
  });
  await new Promise<void>((done) => socket.close(() => done()));
  return { sent, answers };
}

/** Resident memory of a process, megabytes; NaN where the system has no /proc. */
export function residentMb(pid: number): number {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
  } catch {
    return Number.NaN;
  }
}
