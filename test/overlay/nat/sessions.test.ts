// One UDP port for everything: a thousand runs of ICE between two sockets, and what telling their packets apart costs.
import { randomFillSync } from 'node:crypto';
import { getHeapStatistics } from 'node:v8';
import t from 'tap';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import { formatCandidate, localCandidate } from '../../../src/overlay/path/ice-candidate.ts';
import { DirectPath, IceRouter } from '../../../src/overlay/path/ice.ts';
import { UdpMux } from '../../../src/overlay/path/udp-mux.ts';
import { openDatagramPort } from '../../../src/overlay/udp/open.ts';
import type { DatagramEvents } from '../../../src/overlay/udp/port.ts';
import { until } from '../pair.ts';

t.setTimeout(300_000);
const sessions = 1000;
/** Started at once. */
const together = 100;

interface End {
  readonly mux: UdpMux;
  readonly router: IceRouter;
  readonly paths: DirectPath[];
  received: number;
}

async function openEnd(): Promise<End> {
  const router = new IceRouter();
  const end: { received: number } = { received: 0 };
  const mux = await UdpMux.open(
    0,
    {
      wireGuard: (run, size) => (end.received += Math.ceil(run.length / size)),
      stun: (message, source) => void router.route(message, source),
      turn: () => undefined,
    },
    silentLogger,
    openDatagramPort,
  );
  return Object.assign(end, { mux, router, paths: [] });
}

function addPath(end: End, controlling: boolean): DirectPath {
  const path = new DirectPath({
    controlling,
    mux: () => end.mux,
    router: end.router,
    clock: systemClock,
    random: (target) => void randomFillSync(target),
    localCandidates: () => [localCandidate('host', { address: '127.0.0.1', port: end.mux.port }, 65_535)],
    allowed: () => true,
    announce: () => undefined,
    changed: () => undefined,
  });
  end.paths.push(path);
  return path;
}

void t.test('a thousand sessions share two sockets: all connect, each with its own peer, and keep consent', { timeout: 110_000 }, async (t) => {
  const [left, right] = [await openEnd(), await openEnd()];
  t.teardown(async () => {
    for (const end of [left, right]) {
      for (const path of end.paths) path.close();
      await end.mux.close();
    }
  });
  const started = performance.now();
  const cpu = process.cpuUsage();
  const all = (): boolean => [...left.paths, ...right.paths].every((path) => path.up);
  for (let i = 0; i < sessions; i++) {
    const a = addPath(left, i % 2 === 0);
    const b = addPath(right, i % 2 !== 0);
    a.start({ ...b.credentials, sessionId: b.sessionId });
    b.start({ ...a.credentials, sessionId: a.sessionId });
    a.addRemote(formatCandidate(localCandidate('host', { address: '127.0.0.1', port: right.mux.port }, 65_535)));
    b.addRemote(formatCandidate(localCandidate('host', { address: '127.0.0.1', port: left.mux.port }, 65_535)));
    // As offers are spread over time where many peers come at once.
    if (i % together === together - 1) await until(all, 10_000);
  }
  const used = process.cpuUsage(cpu);
  t.comment(
    `figure: ${sessions} sessions on one port connected after ${(performance.now() - started).toFixed(0)} ms, ${((used.user + used.system) / 2000 / sessions).toFixed(2)} ms of CPU for each end of one`,
  );
  t.equal(new Set([...left.paths, ...right.paths].map((path) => path.tag)).size, 2 * sessions, 'no two agents of one router have a tag in common');
  // Two rounds of consent, with everything else that is due.
  const held = performance.now();
  await until(() => performance.now() - held > 8500, 12_000);
  t.ok(all(), 'consent holds for all');
  right.received = 0;
  for (const path of left.paths) path.send(Buffer.alloc(64, 9));
  await until(() => right.received >= sessions * 0.99, 3000);
});

void t.test('a WireGuard packet of any of a thousand peers finds its way without an allocation', async (t) => {
  let handlers: DatagramEvents | undefined;
  const seen = { packets: 0, sources: new Set<unknown>() };
  let count = false;
  const mux = await UdpMux.open(
    0,
    {
      wireGuard: (_run, _size, source) => {
        seen.packets++;
        if (count) seen.sources.add(source);
      },
      stun: () => undefined,
      turn: () => undefined,
    },
    silentLogger,
    async (_port, given) => {
      handlers = given;
      return {
        port: 1,
        ipv6: true,
        accelerator: { kind: 'dgram', reason: 'a test' },
        send: () => undefined,
        sendRun: () => undefined,
        close: () => Promise.resolve(),
      };
    },
  );
  t.teardown(() => mux.close());
  const packet = Buffer.alloc(1452);
  packet.writeUInt32LE(4, 0);
  const addresses = Array.from({ length: sessions }, (_, i) => ({ address: `198.51.${i >> 8}.${i & 255}`, port: 40_000 + i }));
  const round = (times: number): void => {
    for (let i = 0; i < times; i++) for (const { address, port } of addresses) handlers?.receive(packet, packet.length, address, port);
  };
  count = true;
  round(1);
  count = false;
  t.equal(seen.sources.size, sessions, 'each has a source of its own');
  round(100);
  // The least of some looks: what is allocated for each packet shows in every one, what the compiler does meanwhile only in some.
  let [ns, bytes] = [Infinity, Infinity];
  for (let look = 0; look < 5; look++) {
    const before = getHeapStatistics();
    const started = performance.now();
    round(100);
    ns = Math.min(ns, ((performance.now() - started) * 1e6) / (100 * sessions));
    bytes = Math.min(bytes, (getHeapStatistics().total_allocated_bytes - before.total_allocated_bytes) / (100 * sessions));
  }
  t.comment(`figure: ${ns.toFixed(0)} ns and ${bytes.toFixed(2)} bytes of heap for each packet, ${sessions} peers in turn`);
  t.ok(bytes < 4, `${bytes} bytes for each packet`);
});
