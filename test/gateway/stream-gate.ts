// The gateway's public stream ports in a test's own process.
import type { Test } from 'tap';
import { systemClock } from '#lib/clock.ts';
import { hostDial } from '#lib/host-dial.ts';
import { type IpPrefix, parsePrefix } from '#lib/ip.ts';
import { silentLogger } from '#lib/log.ts';
import { chooseHostUdp } from '#mesh/index.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import type { ServiceMapping } from '#model/service.ts';
import { buildStreamTable, createStreamPublisher, type StreamPublisher, Unlocks } from '#publish/index.ts';
import { ProxyDoor } from '../../src/gateway/listen/proxy-door.ts';
import { openPublicSockets } from '../../src/gateway/listen/public-sockets.ts';

export interface Gate {
  readonly entries: AccessLogEntry[];
  stats(): ReturnType<StreamPublisher['stats']>;
  drain(deadlineMs: number): Promise<void>;
  apply(mappings: readonly ServiceMapping[]): void;
}

/** Public sockets with a stream publisher behind them, as the gateway has them; targets are dialled directly. */
export async function startGate(
  t: Pick<Test, 'teardown' | 'fail'>,
  mappings: readonly ServiceMapping[],
  accelerators: 'auto' | 'off',
  loadBalancers: readonly string[] = [],
): Promise<Gate> {
  const clock = systemClock;
  const log = silentLogger;
  const udp = chooseHostUdp(accelerators);
  const entries: AccessLogEntry[] = [];
  const trusted = loadBalancers.map(parsePrefix).filter((prefix): prefix is IpPrefix => prefix !== undefined);
  const publisher = createStreamPublisher({
    dial: hostDial,
    directDial: hostDial,
    openUdp: udp.open,
    openDirectUdp: udp.open,
    certificates: { find: () => undefined },
    webDomain: () => undefined,
    unlocks: new Unlocks({ clock, log }),
    accessLog: (entry) => void entries.push(entry),
    clock,
    log,
  });
  const sockets = await openPublicSockets({
    at: { host: '127.0.0.1', port: 0 },
    loadBalancers: trusted,
    door: new ProxyDoor({ trusted, clock, log }),
    http: { handleConnection: (socket) => void socket.destroy() },
    streams: publisher,
    openUdp: udp.listen,
    clock,
    log,
  });
  t.teardown(async () => {
    const closed = sockets.close();
    await publisher.close();
    await closed;
  });
  const apply = (next: readonly ServiceMapping[]): void => {
    const table = buildStreamTable(next, (id, problem) => t.fail(`${id} ${problem}`));
    publisher.apply(table);
    sockets.open(table);
  };
  apply(mappings);
  return { entries, stats: () => publisher.stats(), drain: (deadlineMs) => publisher.drain(deadlineMs), apply };
}
