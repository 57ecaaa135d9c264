// Signed assertions as a service checks them.
import t from 'tap';
import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from 'jose';
import { silentLogger } from '#lib/log.ts';
import { asId, type UserId } from '#model/ids.ts';
import { assertionKeyMs, assertionMs, assertionTableSize } from '#identity/constants.ts';
import { AssertionSigner } from '#identity/assertion.ts';
import { ManualClock } from '../support/manual-clock.ts';

const identity = { userId: asId<UserId>('u1'), email: 'ada@example.com', name: 'Ada', groups: ['admins'], method: 'oidc' } as const;
const origin = 'https://app.example.com';

async function start() {
  const clock = new ManualClock();
  const kept: { text?: string } = {};
  const store = { load: async () => kept.text, save: async (text: string) => void (kept.text = text) };
  const open = () => AssertionSigner.open({ store, clock, log: silentLogger });
  return { clock, kept, open, signer: await open() };
}

const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 50));

t.test('row X-6: a service verifies who calls with the published keys', async (t) => {
  const { clock, signer } = await start();
  const jwt = await signer.assertion(identity, origin);
  const { payload } = await jwtVerify(jwt, createLocalJWKSet(signer.jwks() as never), {
    issuer: origin,
    audience: origin,
    currentDate: new Date(clock.wall()),
  });
  t.match(payload, { sub: 'u1', email: 'ada@example.com', name: 'Ada', groups: ['admins'] });
  t.equal((payload.exp ?? 0) - (payload.iat ?? 0), assertionMs / 1000);
  t.notOk(JSON.stringify(signer.jwks()).includes('"d"'), 'no private key is published');
});

t.test('it is worth nothing at another service, or later', async (t) => {
  const { clock, signer } = await start();
  const jwt = await signer.assertion(identity, origin);
  const keys = createLocalJWKSet(signer.jwks() as never);
  await t.rejects(jwtVerify(jwt, keys, { audience: 'https://other.example.com', currentDate: new Date(clock.wall()) }), {
    code: 'ERR_JWT_CLAIM_VALIDATION_FAILED',
  });
  await t.rejects(jwtVerify(jwt, keys, { currentDate: new Date(clock.wall() + assertionMs) }), { code: 'ERR_JWT_EXPIRED' });
});

t.test('it is signed once, again at half its life, and anew where the identity changed', async (t) => {
  const { clock, signer } = await start();
  const first = await signer.assertion(identity, origin);
  t.equal(signer.assertion(identity, origin), first, 'without a promise');
  clock.advance(assertionMs / 2);
  t.equal(signer.assertion(identity, origin), first, 'nobody waits for the renewal');
  for (let i = 0; signer.assertion(identity, origin) === first && i < 100; i++) await settle();
  t.not(signer.assertion(identity, origin), first);
  t.ok(signer.assertion({ ...identity, groups: [] }, origin) instanceof Promise);
  t.ok(signer.assertion(identity, 'https://other.example.com') instanceof Promise);
  clock.advance(assertionMs);
  t.ok(signer.assertion(identity, origin) instanceof Promise, 'an old one is never served');
});

t.test('keys last over a restart and rotate with overlap', async (t) => {
  const { clock, signer, open, kept } = await start();
  const kid = async (from: AssertionSigner): Promise<string | undefined> => decodeProtectedHeader(await from.assertion(identity, origin)).kid;
  const first = await kid(signer);
  t.equal(await kid(await open()), first);
  const [, next] = signer.jwks().keys;
  clock.advance(assertionKeyMs);
  const later = await open();
  t.equal(await kid(later), next?.kid, 'the key that had been announced signs now');
  t.ok(
    later.jwks().keys.some((key) => key.kid === first),
    'the old one is still published',
  );
  await signer.assertion(identity, origin);
  for (let i = 0; signer.jwks().keys[0]?.kid !== next?.kid && i < 100; i++) await settle();
  t.equal(signer.jwks().keys[0]?.kid, next?.kid, 'a running process takes over what another one rotated');
  kept.text = '{}';
  await t.rejects(open(), { code: 'IDENTITY_KEYS_DAMAGED' });
});

t.test('the table of kept tokens has an end', async (t) => {
  const { signer } = await start();
  const step = 500;
  for (let i = 0; i < assertionTableSize + step; i += step) {
    await Promise.all(Array.from({ length: step }, async (_, k) => signer.assertion(identity, `https://s${i + k}.example.com`)));
  }
  t.equal(signer.size, assertionTableSize);
});
