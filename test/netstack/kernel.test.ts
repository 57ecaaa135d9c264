// Against the Linux kernel's TCP through a TUN device: bulk both ways, as client and as server, both families, with disorder;
// half-close, resets, refused ports, full windows, UDP, ping.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { promisify } from 'node:util';
import t from 'tap';
import type { Test } from 'tap';
import { formatIp } from '#lib/ip.ts';
import type { TcpEnd } from '#netstack/types.ts';
import { RECEIVE_BUFFER_FIRST } from '../../src/netstack/constants.ts';
import { Endpoint, at, ip, payload } from './link.ts';
import { KERNEL4, KERNEL6, Kernel, OURS4, OURS6, whyNoKernel } from './tun.ts';
import type { Disorder } from './tun.ts';

let nextPort = 8000;
const DEADLINE_MS = 30_000;
const reason = whyNoKernel();

/** An endpoint on a real clock that can be waited for. */
class LiveEndpoint extends Endpoint {
  #wake: (() => void)[] = [];

  override established(now: number): void {
    super.established(now);
    this.#notify();
  }

  override data(bytes: Uint8Array, now: number): void {
    super.data(bytes, now);
    this.#notify();
  }

  override remoteEnded(now: number): void {
    super.remoteEnded(now);
    this.#notify();
  }

  override closed(end: TcpEnd): void {
    super.closed(end);
    this.#notify();
  }

  async until(what: string, holds: () => boolean): Promise<void> {
    const signal = AbortSignal.timeout(DEADLINE_MS);
    while (!holds()) {
      if (signal.aborted) throw new TypeError(`never happened: ${what}`);
      await new Promise<void>((resolve) => {
        this.#wake.push(resolve);
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
    }
  }

  #notify(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }
}

interface Pair {
  readonly ours: LiveEndpoint;
  readonly theirs: Socket;
}

/** A connection that we open to the kernel, or the kernel to us. */
async function pair(kernel: Kernel, family: 4 | 6, opener: 'ours' | 'kernel'): Promise<Pair> {
  const ours = new LiveEndpoint();
  ours.endWhenRemoteEnds = false;
  if (opener === 'ours') {
    const server = createServer({ allowHalfOpen: true });
    server.listen(0, formatIp(family === 4 ? KERNEL4 : KERNEL6));
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const accepted = once(server, 'connection');
    kernel.act((stack, now) => {
      ours.connection = stack.connect(at(family === 4 ? KERNEL4 : KERNEL6, port), ours, now);
    });
    const [theirs] = (await accepted) as [Socket];
    await ours.until('established', () => ours.isEstablished);
    server.close();
    return { ours, theirs };
  }
  const port = nextPort++;
  const listener = kernel.act((stack) =>
    stack.listen(
      port,
      () => true,
      (connection) => {
        ours.connection = connection;
        connection.attach(ours);
        ours.isEstablished = true;
      },
    ),
  );
  const theirs = connect({ host: formatIp(family === 4 ? OURS4 : OURS6), port, allowHalfOpen: true });
  await once(theirs, 'connect');
  if (!ours.isEstablished) theirs.write('');
  await waitFor(() => ours.isEstablished);
  listener.close();
  return { ours, theirs };
}

async function waitFor(holds: () => boolean): Promise<void> {
  const signal = AbortSignal.timeout(DEADLINE_MS);
  while (!holds()) {
    if (signal.aborted) throw new TypeError('never happened');
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

function kernelSink(socket: Socket): { bytes: number; readonly hash: ReturnType<typeof createHash>; ended: boolean } {
  const sink = { bytes: 0, hash: createHash('sha256'), ended: false };
  socket.on('data', (chunk: Buffer) => {
    sink.bytes += chunk.length;
    sink.hash.update(chunk);
  });
  socket.on('end', () => (sink.ended = true));
  return sink;
}

async function bulk(t: Test, kernel: Kernel, family: 4 | 6, opener: 'ours' | 'kernel', size: number): Promise<number> {
  const { ours, theirs } = await pair(kernel, family, opener);
  const up = payload(size, 21);
  const down = payload(size, 22);
  const sink = kernelSink(theirs);
  const start = performance.now();
  kernel.act((_, now) => ours.send(up.bytes, true, now));
  theirs.end(Buffer.from(down.bytes));
  await ours.until('both directions', () => ours.end !== undefined || (ours.received === size && ours.ended));
  await waitFor(() => sink.ended);
  await waitFor(() => ours.end !== undefined);
  t.equal(sink.hash.digest('hex'), up.digest, `ours to kernel, ${opener} opened, IPv${family}`);
  t.equal(ours.hash.digest('hex'), down.digest, `kernel to ours, ${opener} opened, IPv${family}`);
  t.equal(ours.end, 'finished');
  return performance.now() - start;
}

void t.test('TCP with the kernel', { ...(reason === undefined ? {} : { skip: reason }), timeout: 110_000 }, async (t) => {
  const kernel = new Kernel();
  t.teardown(() => kernel.close());

  await t.test('bulk both ways at once, both openers, both families', async (t) => {
    for (const family of [4, 6] as const) {
      for (const opener of ['ours', 'kernel'] as const) {
        const ms = await bulk(t, kernel, family, opener, 4_000_000);
        t.comment(`IPv${family}, ${opener} opened: 2 x 4 MB in ${ms.toFixed(0)} ms`);
      }
    }
  });

  await t.test('bulk with loss, reordering and duplicates', async (t) => {
    const cases: readonly (readonly [string, Disorder])[] = [
      ['loss 2 %', { seed: 1, loss: 0.02, reorder: 0, duplicate: 0 }],
      ['reorder 5 %', { seed: 2, loss: 0, reorder: 0.05, duplicate: 0 }],
      ['duplicate 5 %', { seed: 3, loss: 0, reorder: 0, duplicate: 0.05 }],
      ['all of it', { seed: 4, loss: 0.02, reorder: 0.02, duplicate: 0.02 }],
    ];
    for (const [name, disorder] of cases) {
      for (const family of [4, 6] as const) {
        kernel.disturb(disorder);
        const ms = await bulk(t, kernel, family, family === 4 ? 'ours' : 'kernel', 500_000);
        kernel.disturb(undefined);
        t.comment(`${name}, IPv${family}: 2 x 500 KB in ${ms.toFixed(0)} ms`);
      }
    }
  });

  await t.test('half-close: either side may go on after the other has finished', async (t) => {
    for (const opener of ['ours', 'kernel'] as const) {
      const { ours, theirs } = await pair(kernel, 4, opener);
      const sink = kernelSink(theirs);
      kernel.act((_, now) => ours.connection?.end(now));
      await waitFor(() => sink.ended);
      const late = payload(100_000, 3);
      theirs.end(Buffer.from(late.bytes));
      await ours.until('closed', () => ours.end !== undefined);
      t.equal(ours.hash.digest('hex'), late.digest, 'the kernel sent after our FIN');
      const other = await pair(kernel, 6, opener);
      const otherSink = kernelSink(other.theirs);
      other.theirs.end();
      await other.ours.until('FIN', () => other.ours.ended);
      kernel.act((_, now) => other.ours.send(late.bytes, true, now));
      await waitFor(() => otherSink.ended);
      t.equal(otherSink.hash.digest('hex'), late.digest, 'we sent after the FIN of the kernel');
      await other.ours.until('closed', () => other.ours.end !== undefined);
      t.equal(other.ours.end, 'finished');
    }
  });

  await t.test('resets arrive as resets', async (t) => {
    const first = await pair(kernel, 4, 'ours');
    first.theirs.resetAndDestroy();
    await first.ours.until('reset', () => first.ours.end !== undefined);
    t.equal(first.ours.end, 'ECONNRESET');
    const second = await pair(kernel, 6, 'kernel');
    const failed = once(second.theirs, 'error');
    kernel.act((_, now) => second.ours.connection?.abort(now));
    const [error] = (await failed) as [NodeJS.ErrnoException];
    t.equal(error.code, 'ECONNRESET');
  });

  await t.test('closed ports refuse, unreachable networks say so', async (t) => {
    for (const address of [KERNEL4, KERNEL6]) {
      const ours = new LiveEndpoint();
      kernel.act((stack, now) => (ours.connection = stack.connect(at(address, 9), ours, now)));
      await ours.until('refused', () => ours.end !== undefined);
      t.equal(ours.end, 'ECONNREFUSED');
    }
    for (const address of [OURS4, OURS6]) {
      const socket = connect({ host: formatIp(address), port: 9 });
      const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
      t.equal(error.code, 'ECONNREFUSED');
    }
    writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');
    execFileSync('ip', ['route', 'add', 'unreachable', '10.78.0.0/24']);
    const ours = new LiveEndpoint();
    kernel.act((stack, now) => (ours.connection = stack.connect(at(ip('10.78.0.1'), 80), ours, now)));
    await ours.until('unreachable', () => ours.end !== undefined);
    t.equal(ours.end, 'EHOSTUNREACH');
  });

  await t.test('a kernel application that stops reading closes the window, and opens it again', async (t) => {
    const { ours, theirs } = await pair(kernel, 4, 'ours');
    const sink = kernelSink(theirs);
    theirs.pause();
    const big = payload(12_000_000, 8);
    kernel.act((_, now) => ours.send(big.bytes, true, now));
    let before = -1;
    let since = performance.now();
    await waitFor(() => {
      if (before !== ours.written) since = performance.now();
      before = ours.written;
      return ours.written > 0 && performance.now() - since > 300;
    });
    const stalledAt = ours.written;
    await new Promise((resolve) => setTimeout(resolve, 1200));
    t.equal(ours.written, stalledAt, 'nothing moves while the window is closed');
    t.ok(stalledAt < big.bytes.length, 'the writer was held back');
    theirs.resume();
    await waitFor(() => sink.ended);
    t.equal(sink.hash.digest('hex'), big.digest);
    theirs.end();
    await ours.until('closed', () => ours.end !== undefined);
  });

  await t.test('our application that stops reading closes the window, and opens it again', async (t) => {
    const { ours, theirs } = await pair(kernel, 6, 'kernel');
    ours.reading = false;
    const big = payload(12_000_000, 9);
    theirs.end(Buffer.from(big.bytes));
    let before = -1;
    await waitFor(() => ours.received > 0.9 * RECEIVE_BUFFER_FIRST);
    await new Promise((resolve) => setTimeout(resolve, 1200));
    before = ours.received;
    await new Promise((resolve) => setTimeout(resolve, 300));
    t.equal(ours.received, before, 'nothing arrives while the window is closed');
    t.ok(before <= 1.02 * RECEIVE_BUFFER_FIRST, 'no more than the receive buffer was accepted');
    kernel.act((_, now) => ours.resume(now));
    await ours.until('all', () => ours.ended);
    t.equal(ours.hash.digest('hex'), big.digest);
    kernel.act((_, now) => ours.connection?.end(now));
    theirs.resume();
    await ours.until('closed', () => ours.end !== undefined);
  });

  await t.test('datagrams pass both ways; a closed port answers', async (t) => {
    for (const family of [4, 6] as const) {
      const echo = kernel.act((stack) => stack.bindUdp(0, (bytes, from, _to, now) => echo.send(bytes, from, now)));
      const socket = createSocket(family === 4 ? 'udp4' : 'udp6');
      socket.connect(echo.local.port, formatIp(family === 4 ? OURS4 : OURS6));
      await once(socket, 'connect');
      const message = payload(1200, family).bytes;
      socket.send(message);
      const [answer] = (await once(socket, 'message')) as [Buffer];
      t.same(answer, Buffer.from(message));
      const large = payload(9000, family).bytes;
      socket.send(large);
      const [whole] = (await once(socket, 'message')) as [Buffer];
      t.ok(whole.equals(large), 'in fragments, both ways');
      echo.close();
      const refused = once(socket, 'error');
      socket.send('x');
      const [error] = (await refused) as [NodeJS.ErrnoException];
      t.equal(error.code, 'ECONNREFUSED');
      socket.close();
    }
  });

  await t.test('ping', async (t) => {
    const script = `
import socket, struct, sys
six = ':' in sys.argv[1]
s = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_RAW, 58 if six else 1)
s.settimeout(5)
def total(b):
    n = sum(struct.unpack('!%dH' % (len(b) // 2), b)); n = (n >> 16) + (n & 0xffff); return ~(n + (n >> 16)) & 0xffff
body = struct.pack('!HH', 77, 1) + b'meshgate' * 4
head = struct.pack('!BB', 128 if six else 8, 0)
s.sendto(head + struct.pack('!H', 0 if six else total(head + b'\\0\\0' + body)) + body, (sys.argv[1], 0))
while True:
    data = s.recv(2000)
    if not six: data = data[(data[0] & 15) * 4:]
    if data[0] == (129 if six else 0): break
print('same' if data[4:] == body else 'different')
`;
    for (const address of [OURS4, OURS6]) {
      try {
        const { stdout } = await promisify(execFile)('python3', ['-c', script, formatIp(address)], { timeout: 10_000 });
        t.equal(stdout.trim(), 'same', formatIp(address));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
        t.pass('ping', { skip: 'needs python3' });
      }
    }
  });
});
