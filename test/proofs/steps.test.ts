// What one proof must not do for another: guesses of the second that the first pays for, time that a cheap one adds to a dear one, devices that
// keep less than was asked for. Attack rows, C-3.
import t from 'tap';
import { anything } from '#model/access.ts';
import type { ProofAttempt, ProofGrant, Session } from '#model/identity.ts';
import { openFrontDoor, type FrontDoor } from '../support/front-door.ts';
import { system } from '../server/domain/support.ts';

const oidc = { enabled: true, groups: [] };
const password = { enabled: true, password: 'open sesame' };
const pin = { enabled: true, pin: '482915' };

async function prove(door: FrontDoor, kind: ProofAttempt['kind'], secret: string, more: Partial<ProofAttempt> = {}): Promise<ProofGrant> {
  const attempt = { serviceId: door.serviceId, sessionId: undefined, knownBrowser: undefined, address: '192.0.2.1', userAgent: '' };
  return await door.domain.proofs.prove({ ...attempt, kind, secret, ...more }, 'a.test');
}

function granted(grant: ProofGrant): ProofGrant & { readonly kind: 'granted' } {
  if (grant.kind !== 'granted') throw new Error(`refused: ${grant.why}`);
  return grant;
}

async function signedIn(door: FrontDoor): Promise<Session> {
  return await door.domain.sessions.create(door.serviceId, door.userId, 'a.test');
}

void t.test('who knows the password gets no more guesses of the PIN by it', async (t) => {
  const door = await openFrontDoor(t, { password, pin }, { proofs: [['password', 'pin']] });
  let looked = 0;
  for (let round = 0; round < 20; round++) {
    const { knownBrowser, session } = granted(await prove(door, 'password', 'open sesame', { address: `192.0.2.${round}` }));
    for (let i = 0; i < 5; i++) {
      const more = { knownBrowser, sessionId: session.id, address: `192.0.2.${round}` };
      const grant = await prove(door, 'pin', String(100_000 + round * 5 + i), more);
      if (grant.kind === 'refused' && grant.why === 'wrong') looked++;
    }
  }
  t.equal(looked, 10, 'as many as any stranger');
});

void t.test('a browser is known by each secret that it was right about, until that is another one', async (t) => {
  const door = await openFrontDoor(t, { password, pin }, { proofs: [['password', 'pin']] });
  const first = granted(await prove(door, 'password', 'open sesame'));
  const more = { knownBrowser: first.knownBrowser, sessionId: first.session.id };
  const { knownBrowser } = granted(await prove(door, 'pin', '482915', more));
  for (let i = 0; i < 30; i++) {
    await prove(door, 'pin', '000000', { address: `198.51.100.${i}` });
    await prove(door, 'password', 'guess', { address: `203.0.113.${i}` });
  }
  t.match(await prove(door, 'pin', '482915', { address: '192.0.2.9' }), { why: 'wait' }, 'a newcomer waits');
  granted(await prove(door, 'password', 'open sesame', { knownBrowser }));
  granted(await prove(door, 'pin', '482915', { knownBrowser }));
  await door.update({ password, pin: { enabled: true, pin: '135790' } }, { proofs: [['password', 'pin']] });
  for (let i = 0; i < 10; i++) await prove(door, 'pin', '000000', { address: `198.51.100.${i}` });
  t.match(
    await prove(door, 'pin', '135790', { knownBrowser, address: '192.0.2.8' }),
    { why: 'wait' },
    'who knew the PIN of before knows not this one',
  );
});

void t.test('proving something else makes what was proven before last no longer', async (t) => {
  const door = await openFrontDoor(t, { oidc, pin });
  let session = await signedIn(door);
  const end = session.expiresAt;
  for (let step = 0; step < 3; step++) {
    door.clock.advance((end - door.clock.wall()) / 2);
    ({ session } = granted(await prove(door, 'pin', '482915', { sessionId: session.id })));
    t.same(session.proofs, ['oidc', 'pin']);
    t.ok(session.expiresAt <= end, 'the sign-in is over when it was to be');
  }
  door.clock.advance(end - door.clock.wall() + 1);
  ({ session } = granted(await prove(door, 'pin', '482915', { sessionId: session.id })));
  t.same(session.proofs, ['pin']);
  t.ok(session.expiresAt > door.clock.wall() + 3_600_000, 'and what begins anew has all its time');
});

void t.test('a rule that asks for less than the service pairs no device for all of it', async (t) => {
  const rule = { name: 'docs', action: 'allow', observe: false, when: { ...anything, paths: ['/docs'] }, proofs: [['oidc']] } as const;
  const door = await openFrontDoor(t, { oidc, pin }, { devices: true, proofs: [['oidc', 'pin']], rules: [rule] });
  const half = await signedIn(door);
  t.same(await door.domain.devices.pair(half.id, door.serviceId, 'a.test', 'TV'), { refused: 'not_signed_in' });
  const { session } = granted(await prove(door, 'pin', '482915', { sessionId: half.id }));
  t.match(await door.domain.devices.pair(session.id, door.serviceId, 'a.test', 'TV'), { device: { name: 'TV' } });
});

void t.test('a session that two links have opened ends with the one that it was opened by at last', async (t) => {
  const door = await openFrontDoor(t, { link: { enabled: true } });
  const share = async (label: string): ReturnType<typeof door.domain.links.create> =>
    await door.domain.links.create(door.serviceId, { label, expiresInMs: 3_600_000, uses: 1 }, system);
  const [first, second] = [await share('first'), await share('second')];
  const before = granted(await prove(door, 'link', first.plain)).session;
  const { session } = granted(await prove(door, 'link', second.plain, { sessionId: before.id }));
  await door.domain.links.revoke(door.serviceId, second.link.id, system);
  t.match(await door.domain.sessions.find(session.id, door.serviceId, 'a.test'), { missing: 'revoked' });
});
