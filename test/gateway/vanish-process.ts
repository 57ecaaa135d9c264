// In a network namespace of its own, whose loopback it may cut: streams whose client or target vanishes without a word. Prints how long each took to
// be found out, in milliseconds, as JSON.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { mapping, path, listenTcp } from '../publish/harness.ts';
import { freePort } from '../support/mesh.ts';
import { startGate } from './stream-gate.ts';

const fail = (message?: unknown): never => {
  throw new Error(String(message));
};

/** Who vanishes, and whether something is on its way to it then. */
const cases = [
  { name: 'client, silent', who: 'client', busy: false },
  { name: 'client, something on its way', who: 'client', busy: true },
  { name: 'target, silent', who: 'target', busy: false },
  { name: 'target, something on its way', who: 'target', busy: true },
] as const;

const targets = await Promise.all(
  cases.map(async () => {
    const sockets: Socket[] = [];
    const { port } = await listenTcp((socket) => void sockets.push(socket.on('data', () => undefined)));
    return { port, sockets, own: await freePort() };
  }),
);
const gate = await startGate(
  { teardown: () => undefined, fail: fail as never },
  targets.map(({ port, own }, i) => mapping(`${i}.test`, [path(port, { directUpstream: true })], { mode: 'tcp', listenPort: own })),
  'auto',
);

async function open(port: number): Promise<Socket> {
  for (;;) {
    const socket = connect({ host: '127.0.0.1', port });
    const there = await Promise.race([
      once(socket, 'connect').then(() => true),
      once(socket, 'error').then(
        () => false,
        () => false,
      ),
    ]).catch(() => false);
    if (there) return socket.on('error', () => undefined).on('data', () => undefined);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const clients = await Promise.all(targets.map(({ own }) => open(own)));
const waiting = async (done: () => boolean): Promise<void> => {
  while (!done()) await new Promise((resolve) => setTimeout(resolve, 20));
};
await waiting(() => targets.every(({ sockets }) => sockets.length === 1));
// Both ends are watched from the first second on.
await new Promise((resolve) => setTimeout(resolve, 2_500));

execFileSync('nft', ['-f', '-'], { input: 'table ip cut {\nchain out {\ntype filter hook output priority 0;\n}\n}\n' });
const begun = performance.now();
for (const [i, { who, busy }] of cases.entries()) {
  const { sockets = [] } = targets[i] ?? {};
  // Of the two connections that of who vanishes is cut, both ways.
  const gone = who === 'client' ? clients[i]?.localPort : sockets[0]?.remotePort;
  for (const side of ['sport', 'dport']) execFileSync('nft', ['add', 'rule', 'ip', 'cut', 'out', 'tcp', side, String(gone), 'drop']);
  const other = who === 'client' ? sockets[0] : clients[i];
  if (busy) other?.write(Buffer.alloc(10_000));
}
const took: Record<string, number> = {};
await waiting(() => {
  for (const { host, reason } of gate.entries) {
    const found = cases[Number(host.split('.')[0])];
    if (found !== undefined) took[`${found.name} (${reason})`] ??= Math.round(performance.now() - begun);
  }
  return Object.keys(took).length === cases.length || performance.now() - begun > 60_000;
});
console.log(JSON.stringify({ took, open: gate.stats().streams }));
process.exit(0);
