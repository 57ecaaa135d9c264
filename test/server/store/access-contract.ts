// What every database engine must keep for identity and access: counters of proofs, share links, devices, factors, passkeys, issuers and claims.
import type { Test } from 'tap';
import { silentLogger } from '#lib/log.ts';
import { asId } from '#model/ids.ts';
import { plainIssuerRules } from '#model/issuer.ts';
import type { Passkey } from '#model/passkey.ts';
import type { DeviceRecord } from '../../../src/server/store/device-table.ts';
import type { FactorRecord } from '../../../src/server/store/factor-tables.ts';
import type { IssuerRecord } from '../../../src/server/store/issuer-table.ts';
import type { LinkRecord } from '../../../src/server/store/link-table.ts';
import type { SessionRecord } from '../../../src/server/store/session-table.ts';
import { openStore, type Store } from '../../../src/server/store/store.ts';
import { service, user, type NewDatabase } from './contract.ts';

export function accessContract(t: Test, fresh: NewDatabase): void {
  const withStore = async (work: (store: Store) => Promise<void>): Promise<void> => {
    const store = await openStore(await fresh(), silentLogger);
    try {
      await store.tables.users.insert(user, user.email, undefined);
      await store.tables.services.insert(service, 'sealed');
      await work(store);
    } finally {
      await store.close();
    }
  };

  t.test('failed proofs are counted, taken back and forgotten, the oldest first', async (t) => {
    await withStore(async ({ tables: { attempts } }) => {
      t.equal(await attempts.find('pin s 192.0.2.1'), undefined);
      for (const failures of [1, 2]) await attempts.set('pin s 192.0.2.1', { failures, last: 2 ** 41 });
      t.same(await attempts.find('pin s 192.0.2.1'), { failures: 2, last: 2 ** 41 });
      await attempts.subtract('pin s 192.0.2.1', 1);
      t.same(await attempts.find('pin s 192.0.2.1'), { failures: 1, last: 2 ** 41 });
      await attempts.subtract('pin s 192.0.2.1', 5);
      t.equal(await attempts.find('pin s 192.0.2.1'), undefined, 'not below none');
      for (let i = 0; i < 6; i++) await attempts.set(`k${i}`, { failures: 1, last: i });
      await attempts.delete('k5');
      await attempts.trim(1, 2);
      t.equal(await attempts.count(), 2);
      t.same(await attempts.find('k4'), { failures: 1, last: 4 });
      t.equal(await attempts.find('k2'), undefined);
    });
  });

  t.test('a share link opens as often as it says, however many race for it', async (t) => {
    await withStore(async ({ tables: { links, services } }) => {
      await links.insert(link, 'digest');
      await t.rejects(links.insert({ ...link, id: 'again' }, 'digest'), { code: 'STORE_FAILED' });
      await links.insert({ ...link, id: 'newer', createdAt: 2 }, 'other');
      t.same(
        (await links.list(service.id)).map(({ id }) => id),
        ['newer', 'l'],
      );
      t.equal(await links.use('digest', service.id, link.expiresAt), undefined, 'its time is over');
      t.equal(await links.use('digest', asId('elsewhere'), 5), undefined);
      const races = await Promise.all(Array.from({ length: 12 }, () => links.use('digest', service.id, 5)));
      t.equal(races.filter((used) => used !== undefined).length, link.uses);
      t.same(await links.find('l'), { ...link, used: link.uses });
      t.equal(await links.revoke('newer'), true);
      t.equal(await links.revoke('newer'), false);
      t.equal(await links.use('other', service.id, 5), undefined, 'it is revoked');
      await links.deleteBefore(link.expiresAt);
      t.equal(await links.count(service.id), 2);
      await services.delete(service.id);
      t.equal(await links.count(service.id), 0, 'links go with their service');
    });
  });

  t.test('devices are found by their secret, and go with their user and their service', async (t) => {
    await withStore(async ({ tables: { devices, services, users } }) => {
      await devices.insert(device);
      t.same(await devices.findByDigest('digest'), device);
      await t.rejects(devices.insert({ ...device, id: 'again' }), { code: 'STORE_FAILED' });
      await devices.setUsed(device.id, 2 ** 41);
      t.same(await devices.listAt(service.id, user.id), [{ ...device, lastUsed: 2 ** 41 }]);
      t.same(await devices.listAt(service.id, asId('nobody')), []);
      const named = { ...device, lastUsed: 2 ** 41, domain: service.domain, email: user.email };
      t.same([await devices.listNamed(user.id, 10), await devices.listNamed(undefined, 10)], [[named], [named]]);
      t.equal(await devices.delete(device.id), true);
      t.equal(await devices.delete(device.id), false);
      await devices.insert(device);
      await services.delete(service.id);
      t.equal(await devices.find(device.id), undefined);
      await services.insert(service, 'sealed');
      await devices.insert(device);
      await users.delete(user.id);
      t.equal(await devices.find(device.id), undefined);
    });
  });

  t.test('second factors, passkeys, issuers and claims', async (t) => {
    await withStore(async ({ tables: { factors, passkeys, issuers, users } }) => {
      const factor: FactorRecord = { id: user.id, totp: { secret: 'sealed', lastStep: 5, failures: 0 }, pending: undefined, recovery: ['a'] };
      await factors.insert(factor);
      await factors.update({ ...factor, totp: undefined, pending: { secret: 'p', at: 1 } });
      t.same(await factors.find(user.id), { ...factor, totp: undefined, pending: { secret: 'p', at: 1 } });
      await passkeys.insert(passkey);
      await t.rejects(passkeys.insert({ ...passkey, id: 'other', userId: asId('nobody') }), { code: 'STORE_FAILED' });
      t.same(await passkeys.list({ column: 'user_id', value: user.id }), [passkey]);
      await issuers.insert(issuer);
      t.same(await issuers.list(), [issuer]);
      await users.setClaims(user.id, { team: ['a', 'b'] });
      t.match(await users.find(user.id), { claims: { team: ['a', 'b'] } });
      await users.delete(user.id);
      t.same([await factors.count(), await passkeys.count(), await issuers.count()], [0, 0, 1]);
    });
  });

  t.test('sessions without an account: the oldest end first, and those of a link with it', async (t) => {
    await withStore(async ({ tables: { sessions } }) => {
      const users = ['pin:1', 'pin:2', 'link:l', 'u', 'link:m', 'u'];
      for (const [i, userId] of users.entries()) {
        const both = i === 5 ? (['oidc', 'link'] as const) : (['pin'] as const);
        await sessions.insert({ ...session, digest: `d${i}`, id: `s${i}`, userId: asId(userId), createdAt: i, proofs: both });
      }
      const ofLink = (await sessions.listOfLink(service.id, asId('link:l'))).map(({ digest }) => digest).toSorted();
      t.same(ofLink, ['d2', 'd5']);
      await sessions.trimNameless(service.id, 2);
      t.same(
        (await sessions.listLive(9, undefined, 10)).map(({ digest }) => digest),
        ['d5', 'd4', 'd3', 'd2'],
      );
    });
  });
}

const link: LinkRecord = {
  id: 'l',
  serviceId: service.id,
  label: 'für Bob',
  createdBy: user.id,
  createdAt: 1,
  expiresAt: 2 ** 41,
  uses: 3,
  used: 0,
  revoked: false,
};

const device: DeviceRecord = { id: 'v', serviceId: service.id, userId: user.id, name: 'TV', createdAt: 1, lastUsed: undefined, digest: 'digest' };

const passkey: Passkey = {
  id: 'credential',
  userId: user.id,
  name: 'Laptop',
  publicKey: { kty: 'EC' },
  counter: 0,
  synced: false,
  transports: ['internal'],
  createdAt: 1,
  lastUsed: undefined,
};

const issuer: IssuerRecord = {
  ...plainIssuerRules,
  id: 'i',
  type: 'oidc',
  name: 'Company',
  issuer: 'https://id.test',
  clientId: 'c',
  clientAuth: 'basic',
  ca: undefined,
  secret: 'sealed',
};

const session: Omit<SessionRecord, 'digest' | 'id' | 'userId' | 'createdAt' | 'proofs'> = {
  serviceId: service.id,
  expiresAt: 10,
  revoked: false,
  signIn: '',
  methods: [],
  address: '192.0.2.1',
  userAgent: 'curl',
  lastUsed: 1,
  name: 'somebody',
};
