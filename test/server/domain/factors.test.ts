// Second factors in the store: each code counts once, and what is lost can be recovered from.
import t from 'tap';
import { totpCode, totpStep } from '#crypto/totp.ts';
import { asId, type UserId } from '#model/ids.ts';
import { passkeysPerUser, recoveryCodes, totpEnrolmentMs, totpLockAfter } from '../../../src/server/domain/constants.ts';
import { addOwner, openDomain, system, type Fixture } from './support.ts';

async function ready(): Promise<Fixture & { readonly userId: UserId; code(steps?: number): string; enrol(): Promise<readonly string[]> }> {
  const fixture = await openDomain();
  const userId = await addOwner(fixture.domain);
  let secret: Uint8Array = new Uint8Array();
  const code = (steps = 0): string => totpCode(secret, totpStep(fixture.clock.wall()) + steps);
  const enrol = async (): Promise<readonly string[]> => {
    secret = await fixture.domain.factors.beginTotp(userId);
    const recovery = (await fixture.domain.factors.confirmTotp(userId, code()))?.recovery ?? [];
    fixture.clock.advance(60_000);
    return recovery;
  };
  return { ...fixture, userId, code, enrol };
}

const wrongFor = (right: string): string => String((Number(right) + 1) % 1_000_000).padStart(6, '0');

// Attack row A-12.
t.test('a code counts once, in its time and a step around it', async (t) => {
  const { domain, clock, userId, code, enrol } = await ready();
  const { factors } = domain;
  t.equal(await factors.checkTotp(userId, '000000'), false, 'nobody has a code before there is a secret');
  await enrol();
  for (const steps of [-1, 0, 1]) {
    t.equal(await factors.checkTotp(userId, code(steps)), true, `drift ${steps}`);
    t.equal(await factors.checkTotp(userId, code(steps)), false, 'again');
  }
  t.equal(await factors.checkTotp(userId, code(-1)), false, 'an older one than the last');
  clock.advance(120_000);
  for (const steps of [-2, 2, -20]) t.equal(await factors.checkTotp(userId, code(steps)), false, `drift ${steps}`);
  for (const text of ['', '12345', `${code()} `, `0${code()}`, '１２３４５６']) t.equal(await factors.checkTotp(userId, text), false, text);
  const racing = await Promise.all(Array.from({ length: 50 }, () => factors.checkTotp(userId, code())));
  t.equal(racing.filter(Boolean).length, 1, 'of fifty at once one');
  await domain.close();
});

t.test('a secret counts once a code of it was shown, and not for ever', async (t) => {
  const { domain, clock, userId, code, enrol } = await ready();
  const secret = await domain.factors.beginTotp(userId);
  t.equal(secret.length, 20);
  const right = totpCode(secret, totpStep(clock.wall()));
  t.equal(await domain.factors.confirmTotp(userId, wrongFor(right)), undefined);
  t.equal(await domain.factors.checkTotp(userId, right), false, 'not yet');
  t.match(await domain.factors.state(userId), { totp: false, recoveryLeft: 0 });
  clock.advance(totpEnrolmentMs + 1);
  t.equal(await domain.factors.confirmTotp(userId, totpCode(secret, totpStep(clock.wall()))), undefined, 'too late');
  t.equal((await enrol()).length, recoveryCodes);
  t.match(await domain.factors.state(userId), { totp: true, totpLocked: false, recoveryLeft: recoveryCodes });
  t.equal(await domain.factors.checkTotp(userId, code()), true);
  const { user: external } = await domain.users.fromConnector({ connector: 'corp', subject: '1', email: 'x@corp.test', name: 'X' });
  await t.rejects(domain.factors.beginTotp(external.id), { code: 'DOMAIN_USER_NO_PASSWORD' });
  await domain.close();
});

// Attack row A-10.
t.test('recovery codes count once each, and unlock what wrong codes have locked', async (t) => {
  const { domain, clock, userId, code, enrol } = await ready();
  const { factors } = domain;
  const recovery = await enrol();
  t.equal(new Set(recovery).size, recoveryCodes);
  for (const one of recovery) t.match(one, /^[A-Z2-7]{4}(?:-[A-Z2-7]{4}){3}$/);
  const [first = '', second = ''] = recovery;
  const racing = await Promise.all(Array.from({ length: 50 }, () => factors.checkRecovery(userId, first.toLowerCase().replaceAll('-', ' '))));
  t.equal(racing.filter(Boolean).length, 1);
  t.equal(await factors.checkRecovery(asId('other'), second), false);
  for (let i = 0; i < totpLockAfter; i++) t.equal(await factors.checkTotp(userId, wrongFor(code())), false);
  clock.advance(60_000);
  await t.rejects(factors.checkTotp(userId, code()), { code: 'DOMAIN_FACTOR_LOCKED' });
  t.match(await factors.state(userId), { totpLocked: true });
  t.equal(await factors.checkRecovery(userId, second), true);
  t.equal(await factors.checkTotp(userId, code()), true);
  const fresh = await factors.newRecovery(userId);
  t.equal(await factors.checkRecovery(userId, recovery[2] ?? ''), false, 'the old ones are gone');
  t.equal(await factors.checkRecovery(userId, fresh[0] ?? ''), true);
  t.match(await factors.state(userId), { recoveryLeft: recoveryCodes - 1 });
  await domain.close();
});

t.test('the last factor stays where one is required, and recovery codes go with the last', async (t) => {
  const { domain, userId, enrol } = await ready();
  const { factors } = domain;
  await t.rejects(factors.newRecovery(userId), { code: 'DOMAIN_FACTOR_NONE' });
  await enrol();
  await domain.settings.update({ secondFactorRequired: true }, system);
  await t.rejects(factors.removeTotp(userId), { code: 'DOMAIN_FACTOR_NEEDED' });
  const key = { id: 'cred', userId, name: 'Phone', publicKey: { kty: 'EC' }, counter: 0, synced: true, transports: [] };
  t.same(await factors.addPasskey(key), { recovery: [] }, 'there are recovery codes already');
  await t.rejects(factors.addPasskey(key), { code: 'DOMAIN_PASSKEY_TAKEN' });
  await factors.removeTotp(userId);
  await t.rejects(factors.removePasskey(userId, 'cred'), { code: 'DOMAIN_FACTOR_NEEDED' });
  await t.rejects(factors.removePasskey(asId('other'), 'cred'), { code: 'DOMAIN_NOT_FOUND' });
  await domain.settings.update({ secondFactorRequired: false }, system);
  await factors.renamePasskey(userId, 'cred', 'Key');
  t.match(await factors.state(userId), { passkeys: [{ name: 'Key' }], recoveryLeft: recoveryCodes });
  await factors.removePasskey(userId, 'cred');
  t.same(await factors.state(userId), { totp: false, totpLocked: false, recoveryLeft: 0, passkeys: [] });
  for (let i = 0; i < passkeysPerUser; i++) await factors.addPasskey({ ...key, id: `c${i}` });
  await t.rejects(factors.addPasskey({ ...key, id: 'more' }), { code: 'DOMAIN_LIMIT' });
  await domain.close();
});

// Attack row A-13.
t.test('a counter that does not grow is refused, and an authenticator may not count at all', async (t) => {
  const { domain, userId } = await ready();
  const { factors } = domain;
  const key = { id: 'counts', userId, name: 'Key', publicKey: {}, counter: 5, synced: false, transports: ['usb'] };
  await factors.addPasskey(key);
  await factors.addPasskey({ ...key, id: 'never', counter: 0 });
  for (const counter of [0, 4, 5]) t.equal(await factors.usePasskey('counts', counter), false, String(counter));
  t.equal(await factors.usePasskey('counts', 6), true);
  t.equal(await factors.usePasskey('counts', 6), false, 'the same again');
  for (let i = 0; i < 3; i++) t.equal(await factors.usePasskey('never', 0), true);
  t.equal(await factors.usePasskey('gone', 1), false);
  t.ok((await domain.events.audit()).some(({ activityCode }) => activityCode === 'user.passkey.cloned'));
  await domain.close();
});

// Attack row C-7.
t.test('a reset takes all factors and ends all sessions', async (t) => {
  const { domain, changes, userId, enrol } = await ready();
  await enrol();
  changes.length = 0;
  await domain.factors.reset(userId, system);
  t.match(await domain.factors.state(userId), { totp: false, recoveryLeft: 0 });
  t.same(changes, [{ kind: 'revocation', revocation: { kind: 'user', userId } }]);
  await domain.close();
});
