// Ports opened by a sign-in: for one address, for as long as the trust lives, and in bounds.
import t, { type Test } from 'tap';
import { silentLogger } from '#lib/log.ts';
import { asId, type ServiceId } from '#model/ids.ts';
import { CONFIRM_MS, UNLOCK_SWEEP_MS, UNLOCKS, UNLOCKS_PER_ADDRESS, UNLOCKS_PER_TRUST } from '#publish/constants.ts';
import { type Unlock, Unlocks } from '#publish/stream/unlocks.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { alice } from '../harness.ts';

const service = asId<ServiceId>('s1');
const found = { id: service, access: 'a' };

function open(t: Test): { clock: ManualClock; unlocks: Unlocks; ended: string[]; unlock: (address: string, change?: Partial<Unlock>) => Unlock } {
  const clock = new ManualClock();
  const unlocks = new Unlocks({ clock, log: silentLogger });
  const ended: string[] = [];
  unlocks.onEnd(({ address, trustKey }) => void ended.push(`${address} ${trustKey}`));
  t.teardown(() => unlocks.close());
  const unlock = (address: string, change: Partial<Unlock> = {}): Unlock => ({
    serviceId: service,
    access: 'a',
    address,
    trustKey: 'k',
    identity: alice,
    expiresAt: clock.wall() + 3_600_000,
    confirm: () => true,
    ...change,
  });
  return { clock, unlocks, ended, unlock };
}

void t.test('it is for that service and that address', async (t) => {
  const { unlocks, unlock } = open(t);
  t.ok(unlocks.open(unlock('192.0.2.1')));
  t.match(unlocks.find(found, '192.0.2.1'), { identity: alice });
  t.equal(unlocks.find(found, '192.0.2.2'), undefined);
  t.equal(unlocks.find({ ...found, id: asId<ServiceId>('s2') }, '192.0.2.1'), undefined);
});

void t.test('it ends with its time, with its trust, and not with another’s', async (t) => {
  const { clock, unlocks, ended, unlock } = open(t);
  unlocks.open(unlock('192.0.2.1', { trustKey: 'a', expiresAt: clock.wall() + 10_000 }));
  unlocks.open(unlock('192.0.2.1', { trustKey: 'b' }));
  unlocks.endTrust('b', asId<ServiceId>('s2'));
  t.equal(unlocks.find(found, '192.0.2.1')?.trustKey, 'b', 'the last who signed in');
  unlocks.endTrust('b', service);
  t.equal(unlocks.find(found, '192.0.2.1')?.trustKey, 'a');
  clock.advance(10_000);
  t.equal(unlocks.find(found, '192.0.2.1'), undefined);
  clock.advance(UNLOCK_SWEEP_MS);
  t.same(ended, ['192.0.2.1 b', '192.0.2.1 a']);
  t.equal(unlocks.size, 0);
});

void t.test('it is confirmed now and then, and ends where that says no or fails', async (t) => {
  const { clock, unlocks, ended, unlock } = open(t);
  let asked = 0;
  unlocks.open(unlock('192.0.2.1', { trustKey: 'yes', confirm: () => ++asked > 0 }));
  unlocks.open(unlock('192.0.2.2', { trustKey: 'no', confirm: () => false }));
  unlocks.open(unlock('192.0.2.3', { trustKey: 'later', confirm: () => Promise.resolve(false) }));
  unlocks.open(
    unlock('192.0.2.4', {
      trustKey: 'throws',
      confirm: () => {
        throw new TypeError('x');
      },
    }),
  );
  clock.advance(CONFIRM_MS + UNLOCK_SWEEP_MS);
  await Promise.resolve();
  await Promise.resolve();
  t.equal(asked, 1);
  t.same(ended.toSorted(), ['192.0.2.2 no', '192.0.2.3 later', '192.0.2.4 throws']);
  clock.advance(CONFIRM_MS * 3);
  t.ok(asked >= 3, 'again and again');
});

void t.test('there are only so many; the same trust again takes its own place', async (t) => {
  const { unlocks, unlock } = open(t);
  for (let i = 0; i < UNLOCKS_PER_ADDRESS; i++) t.ok(unlocks.open(unlock('192.0.2.1', { trustKey: String(i) })));
  t.notOk(unlocks.open(unlock('192.0.2.1', { trustKey: 'one more' })));
  t.ok(unlocks.open(unlock('192.0.2.1', { trustKey: '3' })));
  for (let i = unlocks.size; i < UNLOCKS; i++) unlocks.open(unlock(`10.0.${i >> 8}.${i & 255}`, { trustKey: `k${i}` }));
  t.notOk(unlocks.open(unlock('192.0.2.9')));
  t.equal(unlocks.size, UNLOCKS);
  await unlocks.close();
  t.equal(unlocks.size, 0);
  t.notOk(unlocks.open(unlock('192.0.2.9')));
});

void t.test('one sign-in opens it from so many addresses only, and the first is closed for one more', async (t) => {
  const { unlocks, ended, unlock } = open(t);
  const [first, second] = ['2001:db8::0', '2001:db8::1'];
  for (let i = 0; i < UNLOCKS_PER_TRUST; i++) t.ok(unlocks.open(unlock(`2001:db8::${i}`)));
  t.ok(unlocks.open(unlock(first, { trustKey: 'another' })));
  t.ok(unlocks.open(unlock(first)), 'the same address again is no further one, and the latest');
  t.same(ended, []);
  t.ok(unlocks.open(unlock('2001:db8::ffff')));
  t.same(ended, [`${second} k`]);
  t.equal(unlocks.size, UNLOCKS_PER_TRUST + 1);
  t.equal(unlocks.find(found, second), undefined);
  t.ok(unlocks.open(unlock(second, { serviceId: asId<ServiceId>('s2') })), 'another service is counted by itself');
  t.equal(ended.length, 1);
  unlocks.endTrust('k', service);
  t.equal(unlocks.size, 2);
  for (let i = 0; i < UNLOCKS_PER_TRUST; i++) t.ok(unlocks.open(unlock(`2001:db8::${i}`)), 'what has ended is not counted');
  t.equal(ended.length, 1 + UNLOCKS_PER_TRUST);
});

void t.test('it opens nothing under another access of its service', async (t) => {
  const { unlocks, ended, unlock } = open(t);
  unlocks.open(unlock('192.0.2.1'));
  unlocks.open(unlock('192.0.2.2', { access: 'b' }));
  t.equal(unlocks.find({ ...found, access: 'b' }, '192.0.2.1'), undefined, 'also before anybody has swept');
  unlocks.keep(({ serviceId }, access) => (serviceId === service && access === 'b' ? 'b' : undefined));
  t.same(ended, ['192.0.2.1 k']);
  t.match(unlocks.find({ ...found, access: 'b' }, '192.0.2.2'), { identity: alice });
});
