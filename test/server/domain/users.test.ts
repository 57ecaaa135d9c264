import t from 'tap';
import { PasswordHasher } from '#crypto/password.ts';
import { asId } from '#model/ids.ts';
import { Attempts } from '../../../src/server/domain/attempts.ts';
import { attemptMemoryMs, freeAttempts, maxAttemptDelayMs } from '../../../src/server/domain/constants.ts';
import type { OpenControlDomain } from '../../../src/server/domain/index.ts';
import type { User } from '#model/identity.ts';
import { addGatewayToken, addOwner, ManualClock, openDomain, system } from './support.ts';

async function addUser(domain: OpenControlDomain, email: string, more: Partial<User> = {}): Promise<User> {
  const request = { email, name: email, role: 'user', autoGroups: [], service: false, password: 'long enough', ...more } as const;
  return (await domain.users.create(request, system)).user;
}

t.test('the first owner is made by whoever has the code, once', async (t) => {
  const { domain, clock } = await openDomain();
  const code = (await domain.users.setupCode()) ?? '';
  t.match(code, /^(?:[A-Z2-9]{5}-){3}[A-Z2-9]{5}$/);
  const setup = (text: string): Promise<User> =>
    domain.users.setup({ code: text, email: ' Owner@Example.com', password: 'correct horse', name: 'O' });
  t.equal(await domain.users.setupRequired(), true);
  for (let i = 0; i < freeAttempts; i++) await t.rejects(setup(`wrong ${i}`), { code: 'DOMAIN_SETUP_CODE_WRONG' });
  await t.rejects(setup(code), { code: 'DOMAIN_TOO_MANY_ATTEMPTS' });
  clock.advance(maxAttemptDelayMs);
  const outcomes = await Promise.allSettled([setup(code.toLowerCase().replaceAll('-', ' ')), setup(code), setup(code)]);
  t.equal(outcomes.filter((outcome) => outcome.status === 'fulfilled').length, 1);
  await t.rejects(setup(code), { code: 'DOMAIN_SETUP_DONE' });
  t.equal(await domain.users.setupRequired(), false);
  t.equal(await domain.users.setupCode(), undefined);
  t.match(await domain.users.list(), [{ email: 'owner@example.com', role: 'owner' }]);
  await domain.close();
});

t.test('the last owner who can act cannot go', async (t) => {
  const { domain } = await openDomain();
  const owner = await addOwner(domain);
  const last = { code: 'DOMAIN_USER_LAST_OWNER' };
  const refuse = async (): Promise<void> => {
    await t.rejects(domain.users.delete(owner, system), last);
    await t.rejects(domain.users.update(owner, { role: 'admin' }, system), last);
    await t.rejects(domain.users.update(owner, { blocked: true }, system), last);
  };
  await refuse();
  const second = await addUser(domain, 'b@example.com', { role: 'owner' });
  await domain.users.update(second.id, { blocked: true }, system);
  await refuse();
  await domain.users.update(second.id, { blocked: false }, system);
  await domain.users.update(owner, { role: 'user' }, system);
  await t.rejects(domain.users.delete(second.id, system), last);
  await domain.users.delete(owner, system);
  await domain.close();
});

t.test('what changes about a user ends the sessions of the user', async (t) => {
  const { domain, changes } = await openDomain();
  await addOwner(domain);
  const group = await domain.groups.create({ name: 'g', peers: [] }, system);
  const user = await addUser(domain, 'u@example.com');
  const revoked = async (work: Promise<unknown>): Promise<boolean> => {
    changes.length = 0;
    await work;
    return changes.some((change) => change.kind === 'revocation' && change.revocation.kind === 'user' && change.revocation.userId === user.id);
  };
  t.equal(await revoked(domain.users.update(user.id, { role: 'auditor' }, system)), false);
  t.equal(await revoked(domain.users.update(user.id, { autoGroups: [group.id] }, system)), true);
  t.equal(await revoked(domain.users.update(user.id, { autoGroups: [group.id] }, system)), false);
  t.equal(await revoked(domain.users.setPassword(user.id, 'another password', system)), true);
  t.equal(await revoked(domain.users.update(user.id, { blocked: true }, system)), true);
  t.equal(await revoked(domain.users.update(user.id, { blocked: false }, system)), false);
  t.equal(await revoked(domain.sessions.endAllOf(user.id, system)), true);
  await t.rejects(domain.groups.delete(group.id, system), { code: 'DOMAIN_GROUP_IN_USE', message: /u@example\.com/ });
  t.same(await domain.users.groupNames(user.id), ['g']);
  t.equal(await revoked(domain.users.delete(user.id, system)), true);
  await t.rejects(domain.users.get(user.id), { code: 'DOMAIN_NOT_FOUND' });
  await domain.close();
});

t.test('passwords: right, wrong, blocked, unknown', async (t) => {
  const { domain, clock } = await openDomain();
  await addOwner(domain);
  const user = await addUser(domain, 'u@example.com');
  t.match(await domain.users.checkPassword(' U@example.com ', 'long enough'), { id: user.id, lastLogin: clock.wall() });
  t.equal(await domain.users.checkPassword('u@example.com', 'wrong'), undefined);
  t.equal(await domain.users.checkPassword('nobody@example.com', 'long enough'), undefined);
  t.equal(await domain.users.checkPassword('u@example.com', 'x'.repeat(5_000)), undefined);
  await domain.users.update(user.id, { blocked: true }, system);
  t.equal(await domain.users.checkPassword('u@example.com', 'long enough'), undefined);
  const robot = await domain.users.create({ email: '', name: 'robot', role: 'user', autoGroups: [], service: true, password: undefined }, system);
  t.equal(robot.password, undefined);
  t.equal(await domain.users.checkPassword('', ''), undefined);
  t.equal(await domain.users.checkPassword(robot.user.id, ''), undefined);
  await t.rejects(domain.users.setPassword(robot.user.id, 'long enough', system), { code: 'DOMAIN_USER_NO_PASSWORD' });
  const made = await domain.users.create(
    { email: 'gen@example.com', name: 'G', role: 'user', autoGroups: [], service: false, password: undefined },
    system,
  );
  t.match(await domain.users.checkPassword('gen@example.com', made.password ?? ''), { id: made.user.id });
  await t.rejects(addUser(domain, 'GEN@example.com'), { code: 'DOMAIN_USER_EMAIL_TAKEN' });
  await t.rejects(addUser(domain, 'no address'), { code: 'DOMAIN_INVALID' });
  await t.rejects(domain.users.setPassword(made.user.id, 'short', system), { code: 'DOMAIN_INVALID' });
  await domain.close();
});

t.test('guessing gets slower, for names that exist and names that do not alike', async (t) => {
  const { domain, clock } = await openDomain();
  await addOwner(domain);
  for (const email of ['owner@example.com', 'nobody@example.com']) {
    for (let i = 0; i < freeAttempts; i++) t.equal(await domain.users.checkPassword(email, 'wrong'), undefined);
    await t.rejects(domain.users.checkPassword(email, 'correct horse'), { code: 'DOMAIN_TOO_MANY_ATTEMPTS' });
  }
  clock.advance(1_000);
  t.ok(await domain.users.checkPassword('owner@example.com', 'correct horse'));
  t.equal(await domain.users.checkPassword('owner@example.com', 'wrong'), undefined, 'success forgets');
  await domain.close();
});

t.test('many guesses at once count one by one', async (t) => {
  const { domain } = await openDomain();
  await addOwner(domain);
  const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => domain.users.checkPassword('owner@example.com', 'wrong')));
  t.equal(outcomes.filter((outcome) => outcome.status === 'fulfilled').length, freeAttempts);
  await domain.close();
});

t.test('an attempt that nobody had time to look at does not count', async (t) => {
  const { domain } = await openDomain({ hasher: new PasswordHasher({ cost: { N: 16, r: 1, p: 1 }, concurrency: 1, waiting: 0 }) });
  await addOwner(domain);
  const check = (): Promise<unknown> => domain.users.checkPassword('owner@example.com', 'correct horse');
  for (let round = 0; round < freeAttempts; round++) {
    const outcomes = await Promise.allSettled([check(), check()]);
    t.match(outcomes, [{ status: 'fulfilled' }, { status: 'rejected', reason: { code: 'CRYPTO_BUSY' } }]);
  }
  t.ok(await check());
  await domain.close();
});

t.test('the wait grows to its limit, is forgotten in time, and the table has a limit', async (t) => {
  const clock = new ManualClock();
  const attempts = new Attempts(clock, 2);
  const waits: number[] = [];
  for (let i = 0; i < 12; i++) {
    let waited = 0;
    for (; waited <= maxAttemptDelayMs * 2; waited += 1_000) {
      try {
        attempts.begin('a');
        break;
      } catch {
        clock.advance(1_000);
      }
    }
    waits.push(waited / 1_000);
  }
  t.same(waits, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60]);
  clock.advance(attemptMemoryMs + 1);
  attempts.begin('a');
  attempts.begin('a');
  attempts.begin('b');
  attempts.begin('c');
  t.equal(attempts.size, 2);
});

t.test('a user of a connector is made at the first sign-in and known at the next', async (t) => {
  const { domain } = await openDomain();
  await addOwner(domain);
  const enter = async (email: string, subject = '1'): Promise<User> =>
    (await domain.users.fromConnector({ connector: 'dex', subject, email, name: '' })).user;
  const first = await enter('owner@example.com');
  t.match(first, { role: 'user', connector: 'dex' });
  t.equal((await domain.users.list()).length, 2, 'the same address at another place is another user');
  t.match(await enter('new@example.com'), { id: first.id, email: 'new@example.com' });
  t.match(await domain.users.get(first.id), { email: 'new@example.com' });
  await t.rejects(domain.users.setPassword(first.id, 'long enough', system), { code: 'DOMAIN_USER_NO_PASSWORD' });
  await domain.users.update(first.id, { blocked: true }, system);
  await t.rejects(enter('new@example.com'), { code: 'DOMAIN_USER_BLOCKED' });
  await t.rejects(domain.users.fromConnector({ connector: 'local', subject: 'owner@example.com', email: '', name: '' }), { code: 'DOMAIN_INVALID' });
  await domain.close();
});

t.test('tokens are shown once, expire, and go with their user', async (t) => {
  const { domain, clock, changes } = await openDomain({ limits: { tokensPerUser: 2 } });
  const owner = await addOwner(domain);
  const { token, plain } = await domain.tokens.create(owner, 'ci', 1, system);
  t.match(plain, /^nbp_/);
  t.match(await domain.tokens.verify(plain), { id: owner });
  t.match(await domain.tokens.get(owner, token.id), { lastUsed: clock.wall() });
  for (const text of ['', 'nbp_', plain.slice(0, -1), `${plain.slice(0, -1)}!`]) t.equal(await domain.tokens.verify(text), undefined);
  await t.rejects(domain.tokens.get(asId('other'), token.id), { code: 'DOMAIN_NOT_FOUND' });
  for (const days of [0, 366, 1.5]) await t.rejects(domain.tokens.create(owner, 'x', days, system), { code: 'DOMAIN_INVALID' });
  await domain.tokens.create(owner, 'second', 1, system);
  await t.rejects(domain.tokens.create(owner, 'third', 1, system), { code: 'DOMAIN_LIMIT' });
  clock.advance(24 * 3_600_000);
  t.equal(await domain.tokens.verify(plain), undefined);
  await domain.tokens.delete(owner, token.id, system);
  t.match(changes.at(-1), { kind: 'revocation', revocation: { kind: 'token' } });
  const user = await addUser(domain, 'u@example.com');
  const theirs = await domain.tokens.create(user.id, 't', 9, system);
  await domain.users.update(user.id, { blocked: true }, system);
  t.equal(await domain.tokens.verify(theirs.plain), undefined);
  await domain.close();
});

t.test('gateway tokens can be revoked, which is told', async (t) => {
  const { domain, clock, changes } = await openDomain();
  const { token, plain } = await addGatewayToken(domain, 'gw');
  clock.advance(1);
  const brief = await addGatewayToken(domain, 'brief', 60);
  t.match(plain, /^nbx_/);
  t.match(await domain.tokens.verifyProxy(plain), { id: token.id });
  t.ok(await domain.tokens.verifyProxy(brief.plain));
  clock.advance(60_000);
  t.equal(await domain.tokens.verifyProxy(brief.plain), undefined);
  await domain.tokens.revokeProxy(token.id, system);
  await domain.tokens.revokeProxy(token.id, system);
  t.same(changes, [{ kind: 'proxy-token-revoked', tokenId: token.id }]);
  t.equal(await domain.tokens.verifyProxy(plain), undefined);
  t.match(await domain.tokens.listProxy(), [{ name: 'gw', revoked: true }, { name: 'brief' }]);
  await domain.close();
});
