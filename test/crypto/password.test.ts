// Password hashes: the stored form, costs, and bounded work.
import { scryptSync } from 'node:crypto';
import t from 'tap';
import { PasswordHasher } from '#crypto/password.ts';

const cheap = { N: 16, r: 1, p: 1 };
const { signal } = new AbortController();

void t.test('a password verifies against its own hash only', async (t) => {
  const hasher = new PasswordHasher({ cost: cheap });
  const stored = await hasher.hash('pässword', signal);
  const [name, N, r, p, salt, hash] = stored.split('$');
  t.same([name, N, r, p], ['scrypt', '16', '1', '1']);
  t.equal(hash, scryptSync('pässword', Buffer.from(salt ?? '', 'base64'), 32, cheap).toString('base64'));
  t.equal(await hasher.verify('pässword', stored, signal), true);
  for (const wrong of ['password', 'pässword ', '', 'x'.repeat(2_000)]) t.equal(await hasher.verify(wrong, stored, signal), false);
  t.not(await hasher.hash('pässword', signal), stored, 'the salt is new each time');
  t.equal(await hasher.verify('pässword', undefined, signal), false, 'nobody has a password');
  t.equal(await hasher.verify('0000', await hasher.hash('0000', signal), signal), true);
});

void t.test('the default costs work, and other costs are noticed', async (t) => {
  const hasher = new PasswordHasher();
  const stored = await hasher.hash('x', signal);
  t.match(stored, /^scrypt\$32768\$8\$1\$/);
  t.equal(await new PasswordHasher({ cost: cheap }).verify('x', stored, signal), true);
  t.equal(hasher.needsRehash(stored), false);
  t.equal(hasher.needsRehash(await new PasswordHasher({ cost: cheap }).hash('x', signal)), true);
});

void t.test('empty and long passwords are refused', async (t) => {
  const hasher = new PasswordHasher({ cost: cheap });
  await t.rejects(hasher.hash('', signal), { code: 'CRYPTO_PASSWORD_SIZE' });
  await t.rejects(hasher.hash('ä'.repeat(513), signal), { code: 'CRYPTO_PASSWORD_SIZE' });
  await t.resolves(hasher.hash('ä'.repeat(512), signal));
});

void t.test('a damaged or exorbitant record is an error, not a match', async (t) => {
  const hasher = new PasswordHasher({ cost: cheap });
  const good = await hasher.hash('x', signal);
  const parts = good.split('$');
  const swap = (at: number, text: string): string => parts.with(at, text).join('$');
  const salt = parts[4] ?? '';
  for (const bad of [
    '',
    'x',
    swap(0, 'argon2'),
    swap(1, '17'),
    swap(1, '1'),
    swap(1, '67108864'),
    swap(3, '0'),
    swap(4, salt.slice(1)),
    swap(5, 'AAAA'),
    `${good}$`,
  ]) {
    await t.rejects(hasher.verify('x', bad, signal), { code: 'CRYPTO_BAD_HASH' }, bad);
  }
  await t.rejects(hasher.verify('x', swap(1, '1048576').replace('$1$1$', '$8$1$'), signal), { code: 'CRYPTO_BAD_HASH' }, 'a gibibyte');
});

void t.test('work is bounded, waits in order, and can be left while waiting', async (t) => {
  const hasher = new PasswordHasher({ cost: cheap, concurrency: 1, waiting: 2 });
  const order: number[] = [];
  const leaver = new AbortController();
  const first = hasher.hash('1', signal).then(() => order.push(1));
  const second = hasher.hash('2', leaver.signal);
  const third = hasher.hash('3', signal).then(() => order.push(3));
  await t.rejects(hasher.hash('4', signal), { code: 'CRYPTO_BUSY' });
  leaver.abort(new RangeError('gone'));
  await t.rejects(second, RangeError);
  const fifth = hasher.hash('5', signal).then(() => order.push(5));
  await Promise.all([first, third, fifth]);
  t.same(order, [1, 3, 5]);
  await t.rejects(hasher.hash('6', AbortSignal.abort(new RangeError('gone'))), RangeError);
  await t.resolves(hasher.hash('7', signal), 'the slot is free again');
});
