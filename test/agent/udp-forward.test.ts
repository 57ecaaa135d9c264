// UDP ports of the agent that somebody else holds for a while.
import t from 'tap';
import { silentLogger } from '#lib/log.ts';
import type { Overlay } from '#mesh/index.ts';
import type { PacketFilter } from '#model/network-map.ts';
import { udpPortRetry } from '../../src/agent/constants.ts';
import { UdpForwarder } from '../../src/agent/udp-forward.ts';
import { ManualClock } from '../support/manual-clock.ts';

function grant(...ports: readonly number[]): PacketFilter {
  const rule = { direction: 'in', action: 'accept', protocol: 'udp', peer: undefined } as const;
  return { kind: 'rules', rules: ports.map((port) => ({ ...rule, ports: { start: port, end: port } })) };
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
}

t.test('a port that could not be opened is tried again, ever less often, without a change of the policies', async (t) => {
  const clock = new ManualClock();
  const tries: number[] = [];
  let taken = true;
  let closed = 0;
  const bindUdp: Overlay['bindUdp'] = async (port) => {
    tries.push(clock.now());
    if (taken) throw new Error('EADDRNOTAVAIL');
    return { port, send: () => undefined, close: () => void closed++ };
  };
  const forwarder = new UdpForwarder({
    overlay: { bindUdp },
    open: () => ({ send: () => undefined, close: () => undefined }),
    targetOf: (port) => ({ host: '127.0.0.1', port }),
    clock,
    log: silentLogger,
    random: () => 0.5,
  });
  await forwarder.apply(grant(53));
  t.same(tries, [0]);
  const { firstMs, factor, maxMs } = udpPortRetry;
  for (const delay of [firstMs, firstMs * factor, firstMs * factor ** 2]) {
    const before = tries.length;
    clock.advance(delay - 1);
    await settle();
    t.equal(tries.length, before, 'not before its time');
    clock.advance(1);
    await settle();
    t.equal(tries.length, before + 1);
  }
  for (let i = 0; i < 20; i++) {
    clock.advance(maxMs);
    await settle();
  }
  const [last = 0, beforeLast = 0] = tries.toReversed();
  t.equal(last - beforeLast, maxMs, 'and a minute apart at the most');
  taken = false;
  clock.advance(maxMs);
  await settle();
  const opened = tries.length;
  clock.advance(10 * maxMs);
  await settle();
  t.equal(tries.length, opened, 'an open port is left alone');
  await forwarder.apply(grant());
  t.equal(closed, 1);
  taken = true;
  await forwarder.apply(grant(54));
  forwarder.close();
  const atClose = tries.length;
  clock.advance(10 * maxMs);
  await settle();
  t.equal(tries.length, atClose, 'nothing is tried after the end');
});
