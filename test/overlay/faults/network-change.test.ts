// This host's network changes under a transfer: what carried it is gone, and it goes on by itself with the same TCP connection.
import t, { type Test } from 'tap';
import { whyNoNamespaces } from '../../support/namespaces.ts';
import { Net } from './net.ts';
import { finish, startWorld, type World } from './peers.ts';

// A minute on a quiet machine.
t.setTimeout(400_000);

const why = whyNoNamespaces();
if (why !== undefined) t.plan(0, why);
else {
  /** Lets `act` happen and tells how long no data came. */
  const disturb = async (t: Test, { a, b }: World, what: string, act: () => void | Promise<void>): Promise<void> => {
    await a.until('data goes steadily', ({ steadyMs }) => steadyMs > 500);
    const before = (await a.ask()).figures.networkChanges;
    a.tell({ kind: 'mark' });
    await a.ask();
    await act();
    const begun = performance.now();
    await a.until('the change is noticed', ({ figures }) => figures.networkChanges > before);
    await a.until('data comes again', ({ steadyMs }) => steadyMs > 600);
    for (const peer of [a, b]) await peer.until('a direct path', (answer) => answer.peer?.path?.kind === 'direct');
    const directMs = performance.now() - begun;
    const { silenceMs, peer, figures } = await a.ask();
    t.comment(`figure: ${what}: no data for ${silenceMs.toFixed(0)} ms; a direct path at both ends within ${directMs.toFixed(0)} ms`);
    t.comment(`${figures.lastNetworkChange?.what ?? ''}: ${peer?.reason ?? ''}`);
    t.ok(silenceMs < 30_000, what);
  };
  for (const aControls of [true, false]) {
    const role = aControls ? 'controller' : 'other side';
    await t.test(`the ${role} moves`, async (t) => {
      const net = new Net(t);
      net.host('a', [1, 3]);
      net.host('b', [2]);
      const world = await startWorld(t, net, { aControls });

      await disturb(t, world, `${role}: address replaced`, () => {
        net.in('a', 'ip addr del 10.61.1.2/24 dev eth0; ip addr add 10.61.1.77/24 dev eth0; ip route add default via 10.61.1.1');
      });
      t.match((await world.a.ask()).figures.lastNetworkChange?.what, /address/);
      await disturb(t, world, `${role}: interface lost, the other takes over`, () => {
        net.in('a', 'ip link set eth0 down; ip route replace default via 10.61.3.1');
      });
      await disturb(t, world, `${role}: an interface appears`, () => {
        net.in('a', 'ip link set eth0 up');
      });
      await finish(t, world.a);
    });
  }

  await t.test('the line is cut for five seconds; the process sleeps for fifteen', async (t) => {
    const net = new Net(t);
    net.host('a', [1]);
    net.host('b', [2]);
    const world = await startWorld(t, net);
    const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
    await disturb(t, world, 'line cut for 5 s', async () => {
      net.in('a', 'ip link set eth0 down');
      await pause(5000);
      net.in('a', 'ip link set eth0 up; ip route add default via 10.61.1.1');
    });
    await disturb(t, world, 'asleep for 15 s', async () => {
      world.a.child.kill('SIGSTOP');
      await pause(15_000);
      world.a.child.kill('SIGCONT');
    });
    t.match((await world.a.ask()).figures.lastNetworkChange?.what, /woke/);
    await finish(t, world.a);
  });
}
