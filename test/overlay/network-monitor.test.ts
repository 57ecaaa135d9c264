// What counts as a change of this host's network, and that looking for it is cheap.
import t from 'tap';
import { silentLogger } from '#lib/log.ts';
import { NETWORK_LOOK_MS, NETWORK_SLEEP_MS } from '../../src/overlay/constants.ts';
import { breaksPaths, type NetworkChange, NetworkMonitor, type NetworkSample } from '../../src/overlay/network-monitor.ts';
import { defaultRoutes4, defaultRoutes6, type NetworkReading, NetworkWatch, readHostNetwork } from '../../src/overlay/network-watch.ts';
import { ManualClock } from '../support/manual-clock.ts';

const base: NetworkSample = { now: 0, wall: 1e12, addresses: new Set(['eth0 192.0.2.1']), routes: new Set(['eth0 010200C0']) };
const second = (from: NetworkSample, change: Partial<NetworkSample> = {}): NetworkSample => ({
  ...from,
  now: from.now + NETWORK_LOOK_MS,
  wall: from.wall + NETWORK_LOOK_MS,
  ...change,
});
const kinds = (changes: readonly NetworkChange[]): readonly string[] => changes.map(({ kind }) => kind);

t.test('addresses that come and go, default routes that move', async (t) => {
  const monitor = new NetworkMonitor(NETWORK_LOOK_MS);
  t.same(monitor.observe(base), [], 'the first look finds nothing');
  t.same(monitor.observe(second(base)), []);
  const moved = second(second(base), { addresses: new Set(['eth0 192.0.2.7']) });
  const changes = monitor.observe(moved);
  t.same(changes, [
    { kind: 'address-lost', what: 'eth0 192.0.2.1' },
    { kind: 'address-added', what: 'eth0 192.0.2.7' },
  ]);
  t.same(changes.map(breaksPaths), [true, false], 'a new address breaks nothing');
  const routed = second(moved, { routes: new Set(['wlan0 010200C0']) });
  t.same(kinds(monitor.observe(routed)), ['route-changed']);
  const down = second(routed, { addresses: new Set(), routes: new Set() });
  t.same(kinds(monitor.observe(down)), ['address-lost', 'route-changed']);
  t.same(kinds(monitor.observe(second(down, { routes: undefined }))), [], 'routes that cannot be read have not changed');
});

t.test('sleep: the wall clock ran ahead, or the look came late; a clock that is set back is no sleep', async (t) => {
  const monitor = new NetworkMonitor(NETWORK_LOOK_MS);
  monitor.observe(base);
  const suspended = second(base, { wall: base.wall + NETWORK_LOOK_MS + NETWORK_SLEEP_MS });
  t.same(monitor.observe(suspended), [{ kind: 'woke', what: 'stood still for 5 s', sleptMs: NETWORK_SLEEP_MS }]);
  const stopped = second(suspended, { now: suspended.now + 60_000, wall: suspended.wall + 60_000 });
  t.match(monitor.observe(stopped), [{ kind: 'woke', sleptMs: 59_000 }]);
  const late = second(stopped, { now: stopped.now + 4000, wall: stopped.wall + 4000 });
  t.same(monitor.observe(late), [], 'a busy process is not asleep');
  t.same(monitor.observe(second(late, { wall: late.wall - 86_400_000 })), []);
});

t.test('the kernel’s tables of routes', async (t) => {
  const header = 'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n';
  const table = `${header}eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\neth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\nwg0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n`;
  t.same(defaultRoutes4(table), ['eth0 010200C0'], 'neither other networks nor tunnels');
  const zero = '0'.repeat(32);
  const six = `${zero} 00 ${zero} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n${zero} 00 ${zero} 00 ${zero} ffffffff 00000001 00000000 00200200       lo\n`;
  t.same(defaultRoutes6(six), ['eth0 fe800000000000000000000000000001']);
  t.same(defaultRoutes4('junk\n\t\t'), []);
  t.same(defaultRoutes6('junk'), []);
});

t.test('a look costs little', async (t) => {
  readHostNetwork();
  const before = process.cpuUsage();
  const rounds = 200;
  for (let i = 0; i < rounds; i++) readHostNetwork();
  const { user, system } = process.cpuUsage(before);
  const eachMs = (user + system) / 1000 / rounds;
  t.comment(
    `figure: a look at the network takes ${eachMs.toFixed(3)} ms of processor time, ${((100 * eachMs) / NETWORK_LOOK_MS).toFixed(3)} % of one core`,
  );
  t.ok(eachMs < 20);
});

t.test('the watch looks each second, tells changes once, and survives a system that tells nothing', async (t) => {
  const clock = new ManualClock();
  let reading: NetworkReading | undefined = { addresses: new Set(['eth0 192.0.2.1']), routes: undefined, every: new Set(['192.0.2.1']) };
  const told: NetworkChange[] = [];
  const watch = new NetworkWatch({
    clock,
    log: silentLogger,
    changed: (changes) => told.push(...changes),
    read: () => {
      if (reading === undefined) throw new TypeError('no interfaces');
      return reading;
    },
  });
  clock.advance(3 * NETWORK_LOOK_MS);
  t.same(told, []);
  t.ok(watch.hostAddresses?.has('192.0.2.1'));
  reading = { addresses: new Set(['eth0 192.0.2.2']), routes: undefined, every: undefined };
  clock.advance(NETWORK_LOOK_MS);
  t.same(kinds(told), ['address-lost', 'address-added']);
  reading = undefined;
  clock.advance(2 * NETWORK_LOOK_MS);
  reading = { addresses: new Set(['eth0 192.0.2.2']), routes: undefined, every: undefined };
  clock.advance(NETWORK_LOOK_MS);
  t.equal(told.length, 2);
  watch.close();
  t.equal(clock.pending, 0);
});
