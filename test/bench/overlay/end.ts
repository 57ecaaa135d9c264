// One end of a subject, a process of its own in its own network namespace: the kernel's TCP or an overlay below, the application above.
// Started by end-process.ts; asked over IPC.
import { writeFileSync } from 'node:fs';
import type { Session } from 'node:inspector/promises';
import { flushCompileCache } from 'node:module';
import { connect, createServer } from 'node:net';
import { systemClock } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import { parsePrefix, type IpPrefix } from '#lib/ip.ts';
import { silentLogger } from '#lib/log.ts';
import type { Dial } from '#lib/net.ts';
import type { PublicKey } from '#model/ids.ts';
import type { SignalMessage } from '#model/signal.ts';
import { createOverlay, type Overlay } from '#overlay/index.ts';
import { download, pingPong, serve } from './app.ts';
import { type BindDatagrams, bindKernel, bindOverlay, countDatagrams, sendDatagrams } from './datagrams.ts';
import { type Face, type FromEnd, KERNEL_APP_PORT, OVERLAY_APP_PORT, type Task, type ToEnd } from './protocol.ts';

const pathMs = 15_000;

let dial: Dial | undefined;
let overlay: Overlay | undefined;
let bind: BindDatagrams = bindKernel;
let receive: (from: PublicKey, message: SignalMessage) => void = () => undefined;
let profiler: Session | undefined;

function tell(message: FromEnd): void {
  process.send?.(message);
}

function dialler(): Dial {
  if (dial === undefined) throw new TypeError('the end is not started');
  return dial;
}

async function start(face: Face): Promise<void> {
  // So that the ends that start after this one find compiled code, as the CLI's processes do.
  flushCompileCache();
  if (face.kind === 'kernel') return startKernel();
  overlay = await createOverlay(
    {
      signal: {
        send: (to, message) => tell({ kind: 'signal', to, message }),
        receive: (handler) => (receive = handler),
        onConnected: () => undefined,
      },
      log: silentLogger,
      clock: systemClock,
    },
    {
      privateKey: face.privateKey,
      listenPort: 0,
      mode: face.mode,
      hostPrograms: true,
      mtu: face.mtu,
      version: 'bench',
      ca: undefined,
      hostAddresses: [face.hostAddress],
      accelerators: process.env['MESHGATE_ACCELERATORS'] === 'off' ? 'off' : 'auto',
    },
  );
  overlay.accept(
    (port) => port === OVERLAY_APP_PORT,
    ({ stream }) => serve(stream),
  );
  overlay.apply({
    serial: 1n,
    self: { v4: prefix(`${face.own}/24`), v6: undefined, fqdn: 'self.mesh.test' },
    peers: [
      {
        publicKey: face.other.publicKey,
        allowedIps: [prefix(`${face.other.address}/32`)],
        fqdn: 'other.mesh.test',
        agentVersion: 'bench',
      },
    ],
    filter: { kind: 'open' },
  });
  dial = overlay.dial;
  bind = bindOverlay(overlay);
}

async function startKernel(): Promise<void> {
  dial = ({ host, port }, { signal }) =>
    new Promise((resolve, reject) => {
      const socket = connect({ host, port, signal, noDelay: true });
      socket.once('error', reject);
      socket.once('connect', () => resolve(socket));
    });
  const server = createServer({ noDelay: true, highWaterMark: 256 * 1024 }, serve);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(KERNEL_APP_PORT, '0.0.0.0', resolve);
  });
}

function prefix(text: string): IpPrefix {
  const parsed = parsePrefix(text);
  if (parsed === undefined) throw new TypeError(text);
  return parsed;
}

/** Waits for a direct path; the figures of a relayed one would say something else. */
async function ready(): Promise<string> {
  if (overlay === undefined) return 'kernel';
  const until = performance.now() + pathMs;
  for (;;) {
    const { peers } = overlay.status();
    if (peers[0]?.path?.kind === 'direct') return describeStatus(overlay);
    if (performance.now() > until) throw new TypeError(`no direct path: ${peers[0]?.reason ?? 'no peer'}`);
    await new Promise((done) => {
      setTimeout(done, 20);
    });
  }
}

/** What status says is in use, for the record. */
function describeStatus(overlay: Overlay): string {
  const { mode, peers: _peers, ...rest } = overlay.status().figures;
  const shown = ['accelerators', 'udp', 'cipher'].flatMap((name) => Object.entries(rest).filter(([key]) => key === name));
  return [mode, 'direct path', ...shown.map(([key, value]) => `${key} ${JSON.stringify(value)}`)].join(', ');
}

async function perform(task: Task): Promise<unknown> {
  switch (task.name) {
    case 'start':
      return start(task.request);
    case 'ready':
      return ready();
    case 'bulk':
      return download(dialler(), task.request.to, task.request.streams, task.request.seconds);
    case 'roundTrips':
      return pingPong(dialler(), task.request.to, task.request.seconds);
    case 'count':
      return countDatagrams(bind, task.request.port, task.request.seconds);
    case 'send': {
      const { to, bytes, perSecond, seconds } = task.request;
      return sendDatagrams(bind, to, bytes, perSecond, seconds);
    }
    case 'startProfile':
      // Loaded only here: it takes memory, which is measured too.
      profiler = new (await import('node:inspector/promises')).Session();
      profiler.connect();
      await profiler.post('Profiler.enable');
      await profiler.post('Profiler.setSamplingInterval', { interval: 200 });
      await profiler.post('Profiler.start');
      return undefined;
    case 'stopProfile': {
      const stopped = await profiler?.post('Profiler.stop');
      profiler?.disconnect();
      profiler = undefined;
      writeFileSync(task.request, JSON.stringify(stopped?.profile));
      return undefined;
    }
  }
}

process.on('message', (message: ToEnd) => {
  switch (message.kind) {
    case 'signal':
      receive(message.from, message.message);
      return;
    case 'task': {
      const { id, task } = message;
      perform(task).then(
        (answer) => tell({ kind: 'answer', id, answer }),
        (error: unknown) => tell({ kind: 'failed', id, reason: describeError(error) }),
      );
    }
  }
});
// Without its parent it is of no use.
process.on('disconnect', () => process.exit(0));
