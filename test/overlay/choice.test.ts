// The pure parts of a peer: which path is taken, when offers go out, who owns an address.
import t from 'tap';
import type { PublicKey } from '#model/ids.ts';
import { DIRECT_SETTLE_MAX_MS, DIRECT_SETTLE_MS, OFFER_CAP_MAX_MS, PARTIAL_REPEAT_MS, PARTIAL_RETRIES } from '../../src/overlay/constants.ts';
import { OfferSchedule } from '../../src/overlay/offer-schedule.ts';
import { choosePath, type PathFacts } from '../../src/overlay/path/selector.ts';
import { PeerDirectory } from '../../src/overlay/peer-directory.ts';
import { seeded } from '../support/seeded.ts';
import { prefix } from './pair.ts';

const nothing: PathFacts = { current: undefined, directUp: false, directSince: 0, directLosses: 0, relayUp: false, lastKnownUp: false };

t.test('direct before relay, relay before nothing, and patience with a path that flaps', async (t) => {
  t.same(choosePath(nothing, 0), { kind: undefined, againAt: Infinity });
  t.same(choosePath({ ...nothing, relayUp: true }, 0), { kind: 'relay', againAt: Infinity });
  t.equal(choosePath({ ...nothing, relayUp: true, directUp: true }, 0).kind, 'direct', 'the first direct path is taken at once');
  t.equal(choosePath({ ...nothing, directUp: true, directLosses: 9 }, 0).kind, 'direct', 'without a relay too');
  const flapping: PathFacts = { current: 'relay', directUp: true, directSince: 100, directLosses: 1, relayUp: true, lastKnownUp: false };
  t.same(choosePath(flapping, 100), { kind: 'relay', againAt: 100 + DIRECT_SETTLE_MS });
  t.equal(choosePath(flapping, 100 + DIRECT_SETTLE_MS).kind, 'direct');
  t.equal(choosePath({ ...flapping, directLosses: 50 }, 100).againAt, 100 + DIRECT_SETTLE_MAX_MS);
  t.equal(choosePath({ ...flapping, current: 'direct' }, 100).kind, 'direct', 'what is used stays');
  const known: PathFacts = { ...nothing, lastKnownUp: true };
  t.same(choosePath(known, 0), { kind: 'last-known', againAt: Infinity }, 'an address of earlier where there is nothing else');
  t.equal(choosePath({ ...known, current: 'last-known', relayUp: true }, 0).kind, 'relay');
  t.equal(choosePath({ ...known, current: 'last-known', directUp: true }, 0).kind, 'direct');
});

t.test('offers: at once, then from three seconds doubling to the cap; few while only the relay is there; none when all is', async (t) => {
  const schedule = new OfferSchedule(seeded(1), 0);
  t.equal(schedule.at, 0);
  let now = 0;
  const gaps: number[] = [];
  for (let i = 0; i < 8; i++) {
    schedule.sent(now);
    gaps.push(schedule.at - now);
    now = schedule.at;
  }
  t.ok(Math.abs((gaps[0] ?? 0) - 3000) <= 300 && Math.abs((gaps[1] ?? 0) - 6000) <= 600, String(gaps));
  t.ok(gaps.every((gap) => gap <= OFFER_CAP_MAX_MS * 1.1));
  schedule.reached('partial', now);
  for (let i = 0; i < PARTIAL_RETRIES; i++) {
    now = schedule.at;
    schedule.sent(now);
  }
  t.equal(schedule.at, now + PARTIAL_REPEAT_MS);
  schedule.reached('full', now);
  t.equal(schedule.at, Infinity);
  schedule.announce(now, 100);
  t.equal(schedule.at, now + 100, 'news are told even so');
  schedule.sent(now);
  t.equal(schedule.at, Infinity, 'once');
  schedule.reached('partial', now);
  t.equal(schedule.at, now + 800, 'a loss is answered quickly');
  schedule.restart(now, 0);
  t.equal(schedule.at, now);
});

t.test('addresses have owners, names have addresses', async (t) => {
  const [a, b] = ['A', 'B'] as unknown as [PublicKey, PublicKey];
  const directory = new PeerDirectory([
    { publicKey: a, allowedIps: [prefix('100.92.0.2/32'), prefix('fd00::2/128')], fqdn: 'one.mesh', agentVersion: '' },
    { publicKey: b, allowedIps: [prefix('fd00::3/128'), prefix('10.0.0.0/8')], fqdn: 'Two.Mesh', agentVersion: '' },
  ]);
  t.match(directory.find('100.92.0.2', [4]), { peer: a });
  t.match(directory.find('FD00:0::2', [4]), { peer: a }, 'any spelling of the address');
  t.match(directory.find('10.1.2.3', [4]), { peer: b });
  t.equal(directory.find('11.1.2.3', [4]), undefined);
  t.match(directory.find('ONE.mesh.', [4]), { peer: a, ip: { family: 4 } });
  t.match(directory.find('two.mesh', [4, 6]), { peer: b, ip: { family: 6 } });
  t.equal(directory.find('two.mesh', [4]), undefined, 'only addresses of a family that we have');
  t.equal(directory.find('three.mesh', [4]), undefined);
});
