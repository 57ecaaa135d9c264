// TLS clients for what wrk cannot do: handshakes full and resumed, connections that idle, readers that stop reading.
import { connect, type TLSSocket } from 'node:tls';
import { answerQuestions } from './asking.ts';

export interface TlsTarget {
  readonly port: number;
  readonly host: string;
  /** The group of the key agreement; Node's OpenSSL would take a hybrid with ML-KEM where the server has it, and the peers' have not. */
  readonly group?: string;
}

const parallel = 32;
const idle: TLSSocket[] = [];

function open(target: TlsTarget, session: Buffer | undefined, localAddress: string | undefined): TLSSocket {
  return connect({
    host: '127.0.0.1',
    port: target.port,
    servername: target.host,
    rejectUnauthorized: false,
    ALPNProtocols: ['http/1.1'],
    minVersion: 'TLSv1.3',
    ecdhCurve: target.group ?? 'X25519',
    ...(session === undefined ? {} : { session }),
    ...(localAddress === undefined ? {} : { localAddress }),
  });
}

/** Resolves when the connection is closed; tells whether the handshake resumed a session. */
function handshake(target: TlsTarget, session: Buffer | undefined): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = open(target, session, undefined);
    let reused = false;
    socket.once('secureConnect', () => {
      reused = socket.isSessionReused();
      socket.end();
    });
    socket.on('error', reject);
    socket.on('data', () => undefined);
    socket.on('close', () => resolve(reused));
  });
}

function ticket(target: TlsTarget): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = open(target, undefined, undefined);
    socket.once('session', (session) => {
      resolve(session);
      socket.destroy();
    });
    socket.on('error', reject);
    socket.setTimeout(5_000, () => socket.destroy(new Error('no session ticket came')));
  });
}

/** Handshakes one after the other, many at a time; each is of the kind that is asked for, or it throws. */
async function handshakes({ target, resumed, seconds }: { readonly target: TlsTarget; readonly resumed: boolean; readonly seconds: number }) {
  const session = resumed ? await ticket(target) : undefined;
  const until = performance.now() + seconds * 1_000;
  let count = 0;
  const run = async (): Promise<void> => {
    while (performance.now() < until) {
      if ((await handshake(target, session)) !== resumed) throw new Error(resumed ? 'the session was not resumed' : 'the session was resumed');
      count++;
    }
  };
  await Promise.all(Array.from({ length: parallel }, run));
  return count;
}

/** Opens connections that stay and say nothing, from several addresses: one client alone may not have so many. */
async function hold({ target, count }: { readonly target: TlsTarget; readonly count: number }): Promise<void> {
  for (let begun = 0; begun < count; begun += 20) {
    const batch = Array.from({ length: Math.min(20, count - begun) }, (_value, i) => `127.0.0.${2 + Math.floor((begun + i) / 250)}`);
    await Promise.all(
      batch.map(
        (address) =>
          new Promise<void>((resolve, reject) => {
            const socket = open(target, undefined, address);
            idle.push(socket);
            socket.once('secureConnect', () => resolve());
            socket.on('error', reject);
          }),
      ),
    );
  }
}

/** Asks for a body and takes none of it beyond the first piece. */
async function stall({ target, count, request }: { readonly target: TlsTarget; readonly count: number; readonly request: string }): Promise<void> {
  await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<void>((resolve, reject) => {
          const socket = open(target, undefined, undefined);
          idle.push(socket);
          socket.once('secureConnect', () => socket.write(request));
          socket.once('data', (chunk: Buffer) => {
            socket.pause();
            if (chunk.toString('latin1').startsWith('HTTP/1.1 200')) resolve();
            else reject(new Error(chunk.toString('latin1').slice(0, 200)));
          });
          socket.on('error', reject);
        }),
    ),
  );
}

async function release(): Promise<void> {
  await Promise.all(
    idle.splice(0).map(
      (socket) =>
        new Promise<void>((resolve) => {
          socket.removeAllListeners('error');
          socket.on('error', () => undefined);
          socket.once('close', () => resolve());
          socket.destroy();
        }),
    ),
  );
}

answerQuestions({ handshakes, hold, stall, release });
