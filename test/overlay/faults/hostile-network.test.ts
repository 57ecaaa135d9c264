// Firewalls and NATs between two overlays, in namespaces: UDP is blocked and let through again, a NAT forgets its mapping, the relay's
// process is killed. Each under a transfer that has to come whole.
import { once } from 'node:events';
import t, { type Test } from 'tap';
import { whyNoNamespaces } from '../../support/namespaces.ts';
import { Net } from './net.ts';
import { finish, startWorld, type World } from './peers.ts';
import type { Answer } from './protocol.ts';

// 33 s on a quiet machine.
t.setTimeout(300_000);

const why = whyNoNamespaces('nft', 'conntrack');
if (why !== undefined) t.plan(0, why);
else {
  const steady = async ({ a }: World): Promise<void> => {
    await a.until('data goes steadily', ({ steadyMs }) => steadyMs > 500);
    a.tell({ kind: 'mark' });
  };
  /** Waits until data flows, by the wanted path at both ends; tells how long it did not. */
  const recovered = async (t: Test, world: World, what: string, path: 'direct' | 'relay', begun = performance.now()): Promise<Answer> => {
    const { a, b } = world;
    for (const peer of [a, b]) await peer.until(`${what}: ${path}`, (answer) => answer.peer?.path?.kind === path);
    const pathMs = performance.now() - begun;
    await a.until(`${what}: data`, ({ steadyMs }) => steadyMs > 600);
    const answer = await a.ask();
    t.comment(`figure: ${what}: no data for ${answer.silenceMs.toFixed(0)} ms; ${path} at both ends within ${pathMs.toFixed(0)} ms`);
    t.ok(answer.silenceMs < 30_000, what);
    return answer;
  };

  await t.test('UDP is blocked in the middle of a transfer, and let through again', async (t) => {
    const net = new Net(t);
    net.host('a', [1]);
    net.host('b', [2]);
    const world = await startWorld(t, net);
    await steady(world);
    net.in(
      'r',
      'nft add table inet block; nft add chain inet block f "{ type filter hook forward priority 0; }"; nft add rule inet block f meta l4proto udp drop',
    );
    const blocked = await recovered(t, world, 'UDP blocked', 'relay');
    t.match(blocked.peer, { lastSwitch: { to: 'relay' } });
    await steady(world);
    net.in('r', 'nft delete table inet block');
    await recovered(t, world, 'UDP let through', 'direct');
    await finish(t, world.a);
  });

  for (const aControls of [true, false]) {
    await t.test(`the NAT of the ${aControls ? 'controller' : 'other side'} forgets its mapping and makes another`, async (t) => {
      const net = new Net(t);
      net.host('a', [1]);
      net.host('b', [2]);
      const snat = (address: string, ports: string): void =>
        net.in(
          'r',
          `nft -f - <<'RULES'
table ip nat
delete table ip nat
table ip nat {
  chain post {
    type nat hook postrouting priority srcnat;
    ip saddr 10.61.1.0/24 ip daddr 10.61.2.0/24 udp dport 1-65535 snat to ${address}:${ports}
  }
}
RULES`,
        );
      net.in('r', 'ip addr add 10.61.2.100/24 dev b0; ip addr add 10.61.2.101/24 dev b0');
      snat('10.61.2.100', '40000-40999');
      // What is behind the NAT cannot be reached from outside.
      net.in('r', 'nft add table ip f; nft add chain ip f f "{ type filter hook forward priority 0; }"');
      net.in('r', 'nft add rule ip f f ip saddr 10.61.2.0/24 ip daddr 10.61.1.0/24 ct state new drop');
      const world = await startWorld(t, net, { aControls });
      const seen = (await world.b.ask()).peer?.path?.remote ?? '';
      t.match(seen, /^10\.61\.2\.100:40/, 'the other side sees the NAT');
      await steady(world);
      const begun = performance.now();
      snat('10.61.2.101', '50000-50999');
      net.in('r', 'conntrack -D -p udp -s 10.61.1.2 >/dev/null 2>&1 || true; conntrack -D -p udp -s 10.61.2.2 >/dev/null 2>&1 || true');
      await world.b.until('the other side follows', ({ peer }) => peer?.path?.kind === 'direct' && peer.path.remote.startsWith('10.61.2.101:50'));
      await recovered(t, world, `NAT mapping of the ${aControls ? 'controller' : 'other side'} changed`, 'direct', begun);
      await finish(t, world.a);
    });
  }

  await t.test('the relay’s process is killed and started again', async (t) => {
    const net = new Net(t);
    net.host('a', [1]);
    net.host('b', [2]);
    const world = await startWorld(t, net, { forceRelay: true });
    await steady(world);
    const dead = once(world.relay, 'exit');
    world.relay.kill('SIGKILL');
    await dead;
    await world.a.until('the loss is noticed', ({ peer }) => peer?.path === undefined);
    await new Promise((resolve) => setTimeout(resolve, 2000));
    await world.startRelay();
    await recovered(t, world, 'relay process killed for 2 s', 'relay');
    await finish(t, world.a);
  });

  await t.test('the relay’s machine falls silent: nothing says that it is gone', async (t) => {
    const net = new Net(t);
    net.host('a', [1]);
    net.host('b', [2]);
    const world = await startWorld(t, net, { forceRelay: true });
    await steady(world);
    const begun = performance.now();
    world.relay.kill('SIGSTOP');
    await world.a.until('the silence is noticed', ({ peer }) => peer?.path === undefined);
    t.comment(`figure: a relay that falls silent is left after ${(performance.now() - begun).toFixed(0)} ms`);
    world.relay.kill('SIGCONT');
    await recovered(t, world, 'relay silent', 'relay');
    await finish(t, world.a);
  });
}
