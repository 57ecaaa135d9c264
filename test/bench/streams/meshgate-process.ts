// Our stream publisher as a gateway runs it: public sockets, service table, access log; targets are dialled directly.
import { writeFileSync } from 'node:fs';
import { Session as Inspector } from 'node:inspector/promises';
import { systemClock } from '#lib/clock.ts';
import { hostDial } from '#lib/host-dial.ts';
import { silentLogger } from '#lib/log.ts';
import { chooseHostUdp } from '#mesh/index.ts';
import { buildStreamTable, createAccessLog, createBatchSink, createStreamPublisher, Unlocks } from '#publish/index.ts';
import { ProxyDoor } from '../../../src/gateway/listen/proxy-door.ts';
import { openPublicSockets } from '../../../src/gateway/listen/public-sockets.ts';
import { freePort } from '../../support/mesh.ts';
import { mapping, path } from '../../publish/harness.ts';
import { answerQuestions } from '../http/asking.ts';

export interface MeshgatePorts {
  readonly tcp: number;
  /** The same target behind a TLS service. */
  readonly tls: number;
  readonly udp: number;
}

async function start({ upstreamPort, name }: { readonly upstreamPort: number; readonly name: string }): Promise<MeshgatePorts> {
  const clock = systemClock;
  const log = silentLogger;
  const udp = chooseHostUdp('auto');
  const accessLog = createAccessLog([createBatchSink({ send: () => Promise.resolve(), clock, log, random: () => 0.5 })]);
  const publisher = createStreamPublisher({
    dial: hostDial,
    directDial: hostDial,
    openUdp: udp.open,
    openDirectUdp: udp.open,
    certificates: { find: () => undefined },
    webDomain: () => undefined,
    unlocks: new Unlocks({ clock, log }),
    accessLog: (entry) => accessLog.push(entry),
    clock,
    log,
  });
  const sockets = await openPublicSockets({
    at: { host: '127.0.0.1', port: 0 },
    loadBalancers: [],
    door: new ProxyDoor({ trusted: [], clock, log }),
    http: { handleConnection: (socket) => void socket.destroy() },
    streams: publisher,
    openUdp: udp.listen,
    clock,
    log,
  });
  const ports = { tcp: await freePort(), tls: await freePort(), udp: await freePort() };
  const service = (mode: 'tcp' | 'tls' | 'udp', domain: string) =>
    mapping(domain, [path(upstreamPort, { directUpstream: true })], { mode, listenPort: ports[mode] });
  const table = buildStreamTable([service('tcp', 'tcp.bench.test'), service('tls', name), service('udp', 'udp.bench.test')], (id, problem) => {
    throw new Error(`${id}: ${problem}`);
  });
  publisher.apply(table);
  sockets.open(table);
  return ports;
}

const inspector = new Inspector();

answerQuestions({
  start,
  collect: () => {
    globalThis.gc?.();
  },
  startProfile: async () => {
    inspector.connect();
    await inspector.post('Profiler.enable');
    await inspector.post('Profiler.setSamplingInterval', { interval: 200 });
    await inspector.post('Profiler.start');
  },
  stopProfile: async (file: string) => {
    const { profile } = await inspector.post('Profiler.stop');
    inspector.disconnect();
    writeFileSync(file, JSON.stringify(profile));
  },
});
