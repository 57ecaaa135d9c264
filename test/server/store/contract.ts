// What every database engine must do: one suite, run over each.
import type { Test } from 'tap';
import type { AccessLogEntry } from '#model/access-log.ts';
import { asId, type ProxyId, type TokenId } from '#model/ids.ts';
import type { User } from '#model/identity.ts';
import type { NetworkId, NetworkResource, NetworkRouter, ResourceId, Zone, ZoneRecord } from '#model/network-plan.ts';
import type { Group, Peer, SetupKey } from '#model/network.ts';
import { defaultTargetOptions, noRestrictions } from '#model/service.ts';
import { anything, plainAccess } from '#model/access.ts';
import { defaultStream } from '#model/stream.ts';
import { defaultWeb } from '#model/web.ts';
import { silentLogger } from '#lib/log.ts';
import type { Database } from '../../../src/server/store/database.ts';
import { migrate } from '../../../src/server/store/migrations.ts';
import type { ServiceRecord } from '../../../src/server/store/service-table.ts';
import { openDatabase, openStore, type Store } from '../../../src/server/store/store.ts';

/** A URL of an empty database. */
export type NewDatabase = () => Promise<string>;

export function engineContract(t: Test, fresh: NewDatabase): void {
  const withDatabase = async (work: (database: Database) => Promise<void>): Promise<void> => {
    const database = await openDatabase(await fresh(), silentLogger);
    try {
      await database.execute('CREATE TABLE things (id TEXT PRIMARY KEY, amount BIGINT, share DOUBLE PRECISION)');
      await work(database);
    } finally {
      await database.close();
    }
  };
  const add = 'INSERT INTO things (id, amount, share) VALUES (?, ?, ?)';

  t.test('values come back as they went in', async (t) => {
    await withDatabase(async (database) => {
      t.equal(await database.execute(add, ['Ünïcode ✓ \' " ?', Number.MAX_SAFE_INTEGER, 0.25]), 1);
      await database.execute(add, ['nothing', null, null]);
      const rows = await database.query('SELECT * FROM things ORDER BY share');
      t.same(
        rows.map((row) => ({ ...row })).sort((a, b) => String(a.id).localeCompare(String(b.id))),
        [
          { id: 'nothing', amount: null, share: null },
          { id: 'Ünïcode ✓ \' " ?', amount: Number.MAX_SAFE_INTEGER, share: 0.25 },
        ],
      );
    });
  });

  t.test('a transaction is all or nothing', async (t) => {
    await withDatabase(async (database) => {
      await t.rejects(
        database.transaction(async (tx) => {
          await tx.execute(add, ['a', 1, null]);
          await tx.execute(add, ['a', 2, null]);
        }),
        { code: 'STORE_FAILED' },
      );
      t.same(await database.query('SELECT id FROM things'), []);
      await t.rejects(
        database.transaction(async (tx) => {
          await tx.execute(add, ['b', 1, null]);
          throw new TypeError('the caller changed its mind');
        }),
        TypeError,
      );
      t.same(await database.query('SELECT id FROM things'), []);
      await database.transaction((tx) => tx.execute(add, ['c', 1, null]));
      t.equal((await database.query('SELECT id FROM things')).length, 1);
    });
  });

  t.test('write transactions come one after another: what one reads stays true until it commits', async (t) => {
    await withDatabase(async (database) => {
      await database.execute(add, ['counter', 0, null]);
      const turns = Array.from({ length: 30 }, async () => {
        await database.transaction(async (tx) => {
          const [row] = await tx.query('SELECT amount FROM things WHERE id = ?', ['counter']);
          await tx.execute('UPDATE things SET amount = ? WHERE id = ?', [Number(row?.amount) + 1, 'counter']);
        });
      });
      await Promise.all(turns);
      t.match(await database.query('SELECT amount FROM things'), [{ amount: 30 }]);
    });
  });

  t.test('a snapshot is one state', async (t) => {
    await withDatabase(async (database) => {
      await database.execute(add, ['a', 1, null]);
      const seen = await database.snapshot(async (tx) => {
        const before = await tx.query('SELECT count(*) AS total FROM things');
        return [before[0]?.total, (await tx.query('SELECT count(*) AS total FROM things'))[0]?.total];
      });
      t.same(seen, [1, 1]);
    });
  });

  t.test('a closed database refuses; closing twice is closing once', async (t) => {
    const database = await openDatabase(await fresh(), silentLogger);
    await database.close();
    await database.close();
    await t.rejects(database.query('SELECT 1'), { code: 'STORE_CLOSED' });
    await t.rejects(
      database.transaction(async () => undefined),
      { code: 'STORE_CLOSED' },
    );
  });
}

export function storeContract(t: Test, fresh: NewDatabase): void {
  const withStore = async (work: (store: Store) => Promise<void>): Promise<void> => {
    const store = await openStore(await fresh(), silentLogger);
    try {
      await work(store);
    } finally {
      await store.close();
    }
  };

  t.test('the schema is made once, and one from the future is refused', async (t) => {
    const url = await fresh();
    await (await openStore(url, silentLogger)).close();
    const again = await openStore(url, silentLogger);
    t.equal(await again.tables.account.counter('serial'), 0);
    await again.close();
    const database = await openDatabase(url, silentLogger);
    await database.execute('INSERT INTO schema_version (version) VALUES (999)');
    await database.close();
    await t.rejects(openStore(url, silentLogger), { code: 'STORE_TOO_NEW' });
  });

  t.test('gateway tokens from before they had a cluster get the one that their gateways are in', async (t) => {
    const url = await fresh();
    const database = await openDatabase(url, silentLogger);
    await migrate(database, 9);
    for (const id of ['one', 'both', 'none'])
      await database.execute('INSERT INTO proxy_tokens (id, digest, name, created_at, revoked) VALUES (?, ?, ?, 0, 0)', [id, id, id]);
    const connected = [
      ['1', 'one', 'a.test'],
      ['2', 'one', 'a.test'],
      ['3', 'both', 'a.test'],
      ['4', 'both', 'b.test'],
    ];
    for (const row of connected)
      await database.execute("INSERT INTO proxies (id, token_id, cluster, version, server_id, heartbeat) VALUES (?, ?, ?, '1', 's', 0)", row);
    await database.close();
    const store = await openStore(url, silentLogger);
    const clusters = async () => Object.fromEntries((await store.tables.tokens.listProxy()).map(({ id, cluster }) => [id, cluster]));
    t.same(await clusters(), { one: 'a.test', both: undefined, none: undefined });
    t.equal(await store.tables.tokens.bindProxy(asId('both'), 'b.test'), true);
    t.equal(await store.tables.tokens.bindProxy(asId('both'), 'a.test'), false, 'once');
    t.match(await clusters(), { both: 'b.test' });
    await store.close();
  });

  t.test('counters only grow, over reopening too, and not with what is rolled back', async (t) => {
    const url = await fresh();
    const first = await openStore(url, silentLogger);
    t.equal(await first.write(({ account }) => account.next('serial')), 1);
    await t.rejects(
      first.write(async ({ account }) => {
        await account.next('serial');
        throw new TypeError('no');
      }),
    );
    t.equal(await first.write(({ account }) => account.next('serial')), 2);
    t.equal(await first.tables.account.counter('change'), 0);
    await first.close();
    const second = await openStore(url, silentLogger);
    t.equal(await second.write(({ account }) => account.next('serial')), 3);
    await second.close();
  });

  t.test('peers and groups', async (t) => {
    await withStore(async ({ tables }) => {
      const [a, gateway] = [peer('a'), peer('b', { proxyCluster: 'proxy.test', ephemeral: true })];
      await tables.peers.insert(a);
      await tables.peers.insert(gateway);
      t.same(await tables.peers.find(a.id), a);
      t.same(await tables.peers.findByKey(gateway.publicKey), gateway);
      t.equal(await tables.peers.hasLabel('a'), true);
      t.equal(await tables.peers.hasAddress(a.ipv4), true);
      await t.rejects(tables.peers.insert({ ...peer('c'), ipv4: a.ipv4 }), { code: 'STORE_FAILED' });
      const all: Group = { id: asId('all'), name: 'All', peers: [], resources: [], system: true };
      const group: Group = { id: asId('g'), name: 'web', peers: [a.id], resources: [], system: false };
      await tables.groups.insert(all);
      await tables.groups.insert(group);
      t.same(await tables.groups.list(), [{ ...all, peers: [a.id] }, group]);
      await tables.groups.addMember(group.id, a.id);
      t.same((await tables.groups.find(group.id))?.peers, [a.id]);
      await tables.peers.delete(a.id);
      t.same((await tables.groups.find(group.id))?.peers, []);
      t.same((await tables.groups.find(all.id))?.peers, []);
      t.same(await tables.peers.listAbandoned(1_001), [gateway]);
      await tables.peers.setConnected(gateway.id, true, 'server', '192.0.2.1', 2_000);
      t.same(await tables.peers.listAbandoned(9_999), []);
      await tables.account.forgetServers(5_000, 3_000);
      t.match(await tables.peers.find(gateway.id), { connected: false, lastSeen: 3_000, connectionIp: '192.0.2.1' });
    });
  });

  t.test('policies and setup keys', async (t) => {
    await withStore(async ({ tables }) => {
      const policy = { id: asId<never>('p'), name: 'p', description: 'ü', enabled: true, rules: [] };
      await tables.policies.insert(policy);
      await tables.policies.update({ ...policy, enabled: false });
      t.same(await tables.policies.list(), [{ ...policy, enabled: false }]);
      const checked = { ...policy, sourcePostureChecks: [asId<never>('c')] };
      await tables.policies.update(checked);
      t.same(await tables.policies.find(asId('p')), checked);
      t.equal(await tables.policies.delete(asId('p')), true);
      t.equal(await tables.policies.delete(asId('p')), false);
      await tables.setupKeys.insert(setupKey, 'digest');
      await tables.setupKeys.countUse(setupKey.id, 5);
      t.same(await tables.setupKeys.findByDigest('digest'), { ...setupKey, usedTimes: 1, lastUsed: 5 });
    });
  });

  t.test('networks and what is in them', async (t) => {
    await withStore(async ({ tables }) => {
      const network = { id: asId<NetworkId>('n'), name: 'office', description: 'ü' };
      await tables.networks.insert(network);
      t.same(await tables.networks.find('n'), network);
      await tables.groups.insert({ id: asId('g'), name: 'g', peers: [], resources: [], system: false });
      const resource = {
        id: asId<ResourceId>('r'),
        networkId: network.id,
        name: 'r',
        description: '',
        type: 'host',
        address: '10.0.0.1/32',
      } as const;
      const grouped: NetworkResource = { ...resource, enabled: true, groups: [asId('g')] };
      await tables.resources.insert(grouped);
      t.same(await tables.resources.find('r'), grouped);
      t.same(await tables.resources.list('n'), [grouped]);
      t.same(await tables.resources.list('other'), []);
      t.same((await tables.groups.find(asId('g')))?.resources, ['r']);
      t.same((await tables.groups.list())[0]?.resources, ['r']);
      await tables.resources.removeFromGroup(asId('g'), resource.id);
      t.same((await tables.resources.find('r'))?.groups, []);
      await tables.resources.update({ ...grouped, enabled: false });
      t.same(await tables.resources.list(), [{ ...grouped, enabled: false }]);
      const router: NetworkRouter = {
        id: asId('w'),
        networkId: network.id,
        peer: undefined,
        peerGroups: [asId('g')],
        metric: 1,
        masquerade: true,
        enabled: true,
      };
      await tables.routers.insert(router);
      t.same(await tables.routers.list({ column: 'network_id', value: 'n' }), [router], 'undefined comes back as undefined');
      t.same(await tables.routers.list({ column: 'network_id', value: 'm' }), []);
      await t.rejects(tables.routers.insert({ ...router, id: asId('v'), networkId: asId('none') }), { code: 'STORE_FAILED' });
      t.equal(await tables.networks.delete('n'), true);
      t.same([await tables.resources.count(), await tables.routers.count()], [0, 0], 'what was in it is gone with it');
      t.same((await tables.groups.find(asId('g')))?.resources, []);
      t.equal(await tables.networks.delete('n'), false);
    });
  });

  t.test('zones, settings and sign-in tokens', async (t) => {
    await withStore(async ({ tables }) => {
      const zone: Zone = { id: asId('z'), name: 'z', domain: 'z.test', enabled: true, enableSearchDomain: false, distributionGroups: [] };
      await tables.zones.insert(zone);
      await t.rejects(tables.zones.insert({ ...zone, id: asId('y') }), { code: 'STORE_FAILED' }, 'one zone for a domain');
      const record: ZoneRecord = { id: asId('x'), zoneId: zone.id, name: 'a.z.test', type: 'A', content: '10.0.0.1', ttl: 300 };
      await tables.zoneRecords.insert(record);
      await tables.zoneRecords.update({ ...record, ttl: 60 });
      t.same(await tables.zoneRecords.list({ column: 'zone_id', value: 'z' }), [{ ...record, ttl: 60 }]);
      await tables.zones.delete('z');
      t.equal(await tables.zoneRecords.count(), 0);

      t.equal(await tables.account.settings('a'), undefined);
      await tables.account.saveSettings('a', { on: true });
      await tables.account.saveSettings('a', { on: false });
      t.same(await tables.account.settings('a'), { on: false });

      t.equal(await tables.account.useLoginToken('d', 10), true);
      t.equal(await tables.account.useLoginToken('d', 10), false);
      await tables.account.forgetLoginTokens(9);
      t.equal(await tables.account.useLoginToken('d', 10), false);
      await tables.account.forgetLoginTokens(10);
      t.equal(await tables.account.useLoginToken('d', 10), true);
    });
  });

  t.test('logins that expire and come back', async (t) => {
    await withStore(async ({ tables }) => {
      const [mine, machine] = [peer('a', { userId: asId('u'), loginExpirationEnabled: true }), peer('b', { loginExpirationEnabled: true })];
      await tables.peers.insert(mine);
      await tables.peers.insert(machine);
      const wrong = async (before: number): Promise<readonly string[]> => (await tables.peers.listLoginMarksWrong(before)).map(({ id }) => id);
      t.same(await wrong(999), []);
      t.same(await wrong(1_000), ['a'], 'a machine has no user to sign in');
      await tables.peers.setLoginExpired(mine.id, true);
      t.same(await wrong(1_000), []);
      t.same(await wrong(-1), ['a'], 'switched off: the mark goes');
      await tables.peers.setLoginExpiration(mine.id, false);
      t.same(await wrong(1_000), ['a']);
      await tables.peers.setLogin(mine.id, 5_000);
      t.match(await tables.peers.find(mine.id), { loginExpired: false, loginExpirationEnabled: false, lastLogin: 5_000 });
    });
  });

  t.test('users and what hangs on them', async (t) => {
    await withStore(async ({ tables }) => {
      await tables.users.insert(user, 'a@example.com', 'scrypt$');
      t.same(await tables.users.findBySubject('local', 'a@example.com'), { user, password: 'scrypt$' });
      t.equal(await tables.users.countActiveOwners(), 1);
      const token = { id: asId<never>('t'), userId: user.id, name: 't', createdAt: 1, expiresAt: 2, lastUsed: undefined, createdBy: user.id };
      await tables.tokens.insert(token, 'digest');
      t.same(await tables.tokens.findByDigest('digest'), token);
      await tables.users.delete(user.id);
      t.equal(await tables.tokens.findByDigest('digest'), undefined);
    });
  });

  t.test('services, their status and their sessions', async (t) => {
    await withStore(async ({ tables }) => {
      await tables.services.insert(service, 'sealed');
      t.same(await tables.services.find(service.id), service);
      t.equal(await tables.services.sessionKey(service.id), 'sealed');
      await tables.services.update({ ...service, enabled: false });
      t.same(await tables.services.listEnabled(), []);
      await tables.services.update(service);
      t.same(await tables.services.listEnabled('proxy.test'), [service]);
      t.same(await tables.services.listEnabled('other.test'), []);
      await tables.services.setStatus(service.id, asId('gw'), { state: 'pending', reason: 'x' }, 1);
      await tables.services.setStatus(service.id, asId('gw'), { state: 'active', reason: '' }, 2);
      t.same([...(await tables.services.statuses())], [[service.id, [{ proxyId: 'gw', token: undefined, state: 'active', reason: '' }]]]);
      const origin = { signIn: 'one', methods: ['pwd', 'otp'], address: '192.0.2.1', userAgent: 'curl' };
      const times = { createdAt: 1, expiresAt: 10, lastUsed: 1 };
      const session = {
        digest: 'd',
        id: 'public',
        serviceId: service.id,
        userId: user.id,
        revoked: false,
        ...times,
        ...origin,
        proofs: ['oidc', 'pin'] as const,
        name: '',
      };
      await tables.sessions.insert(session);
      t.same(await tables.sessions.find('d'), session);
      t.same(await tables.sessions.findById('public'), session);
      const named = { ...session, serviceName: 's', domain: 's.proxy.test', email: '' };
      t.same(await tables.sessions.listLive(9, user.id, 10), [named]);
      t.same(await tables.sessions.listLive(9, undefined, 10), [named]);
      t.same(await tables.sessions.listLive(10, undefined, 10), []);
      t.same(await tables.sessions.listLive(9, asId('nobody'), 10), []);
      t.same(await tables.sessions.liveOfSignIn('one'), ['d']);
      await tables.sessions.setUsed('d', 5);
      await tables.sessions.setUsed('d', 4);
      t.match(await tables.sessions.find('d'), { lastUsed: 5 });
      t.equal(await tables.sessions.revokeOfUser(user.id), 1);
      t.equal(await tables.sessions.revokeOfUser(user.id), 0);
      t.equal(await tables.sessions.deleteExpired(9), 0);
      await tables.services.delete(service.id);
      t.equal(await tables.sessions.find('d'), undefined);
      t.equal((await tables.services.statuses()).size, 0);
    });
  });

  t.test('leases of exposed services go with their peer', async (t) => {
    await withStore(async ({ tables }) => {
      const owner = peer('a');
      await tables.peers.insert(owner);
      const lease = { id: service.id, peerId: owner.id, domain: 'a.proxy.test', leaseUntil: 10, endsAt: undefined, withdrawn: false };
      await tables.exposures.insert(lease);
      await tables.exposures.insert({ ...lease, id: asId('other'), endsAt: 20 });
      t.same(await tables.exposures.find(service.id), { ...lease, peerName: owner.name });
      t.equal((await tables.exposures.listOfPeer(owner.id)).length, 2);
      await tables.exposures.renew(service.id, 30);
      await tables.exposures.extendAll(25);
      t.same(
        (await tables.exposures.list()).map(({ leaseUntil }) => leaseUntil).toSorted((a, b) => a - b),
        [25, 30],
      );
      await tables.exposures.withdraw(service.id);
      t.same(
        (await tables.exposures.list()).map(({ id }) => id),
        ['other'],
      );
      t.match(await tables.exposures.findByDomain(owner.id, 'a.proxy.test'), { id: 'other' }, 'one that is, first');
      t.ok(await tables.exposures.delete(asId('other')));
      t.match(await tables.exposures.findByDomain(owner.id, 'a.proxy.test'), { id: service.id, withdrawn: true });
      await tables.exposures.forgetWithdrawn(30);
      t.ok(await tables.exposures.find(service.id));
      await tables.exposures.forgetWithdrawn(31);
      t.equal(await tables.exposures.find(service.id), undefined);
      await tables.exposures.insert(lease);
      await tables.peers.delete(owner.id);
      t.equal(await tables.exposures.find(service.id), undefined);
    });
  });

  t.test('the access log is searched without surprises', async (t) => {
    await withStore(async ({ tables }) => {
      const entries = Array.from({ length: 120 }, (_, index) => entry(index));
      await tables.events.addAccess(entries);
      await tables.events.addAccess(entries.slice(0, 3)); // sent again
      t.equal(await tables.events.countAccess([]), 120);
      const page = await tables.events.access([], 2, 1);
      t.same(page, [entries[118], entries[117]]);
      const contains = (value: string): Promise<number> => tables.events.countAccess([{ kind: 'contains', columns: ['path', 'host'], value }]);
      t.equal(await contains('A_B'), 60);
      t.equal(await contains('_'), 60, 'an underscore stands for itself');
      t.equal(await contains('%'), 0);
      t.equal(await tables.events.countAccess([{ kind: 'one-of', column: 'user_id', values: [] }]), 0);
      t.equal(await tables.events.countAccess([{ kind: 'range', column: 'at', from: 10, before: 20 }]), 10);
      await tables.events.trimAccess(20, 50);
      t.equal(await tables.events.countAccess([]), 50);
    });
  });

  t.test('certificate leases, challenges, sealed copies and states', async (t) => {
    await withStore(async (store) => {
      const proxy = (id: string) => ({
        id: asId<ProxyId>(id),
        tokenId: asId<TokenId>('t'),
        cluster: 'c1',
        version: '1',
        serverId: 's',
        heartbeat: 100,
        publicPort: 443,
      });
      const [one, two] = [proxy('one'), proxy('two')];
      await store.write(async (tables) => {
        for (const entry of [one, two]) await tables.clusters.setProxy(entry);
        const { certificates } = tables;
        t.equal(await certificates.isMember('c1', one.id), true);
        t.equal(await certificates.isMember('c2', one.id), false);
        await certificates.setLease('c1', 'a', { proxyId: one.id, expiresAt: 200 });
        t.same(await certificates.lease('c1', 'a'), { proxyId: one.id, expiresAt: 200 });
        t.equal(await certificates.lease('c2', 'a'), undefined);
        t.equal(await certificates.countLeases('c1'), 1);
        const challenge = { type: 'http-01', name: 'a', token: 'tok', keyAuthorization: 'tok.x' };
        await certificates.setChallenge('c1', 'a', challenge, 200);
        await certificates.setChallenge('c1', 'a', challenge, 200);
        t.equal(await certificates.challenge('c1', 'http-01', 'a', 'tok', 199), 'tok.x');
        t.equal(await certificates.challenge('c1', 'http-01', 'a', undefined, 199), 'tok.x');
        t.equal(await certificates.challenge('c1', 'http-01', 'a', 'other', 199), undefined);
        t.equal(await certificates.challenge('c2', 'http-01', 'a', 'tok', 199), undefined);
        t.equal(await certificates.challenge('c1', 'http-01', 'a', 'tok', 200), undefined);
        await certificates.release('c1', 'a', two.id);
        t.equal(await certificates.countLeases('c1'), 1, 'another gateway cannot release it');
        await certificates.release('c1', 'a', one.id);
        t.equal(await certificates.challenge('c1', 'http-01', 'a', 'tok', 199), undefined, 'its challenges go with it');
        const share = { recipient: 'r', sender: 's', box: 'b', notAfter: 300 };
        await certificates.setShare('c1', 'a', share);
        t.same(await certificates.share('c1', 'a', 'r'), share);
        t.equal(await certificates.share('c1', 'a', 'other'), undefined);
        await certificates.setSealKey(one.id, 'c1', 'k1', 100);
        await certificates.setSealKey(two.id, 'c1', 'k2', 100);
        t.same(await certificates.sealKeys('c1', 50), ['k1', 'k2']);
        t.same(await certificates.sealKeys('c1', 101), [], 'only of gateways that are alive');
        await certificates.deleteExpired(300, 0);
        t.equal(await certificates.share('c1', 'a', 'r'), undefined);
        const status = {
          names: ['a'],
          source: 'acme',
          state: 'valid',
          reason: '',
          issuer: '',
          notBefore: '',
          notAfter: '',
          nextAction: 'renew',
          nextAt: '',
        } as const;
        await certificates.setState(one.id, 'c1', 'x', status);
        await certificates.setState(one.id, 'c1', 'x', { ...status, reason: 'new' });
        t.same(await certificates.states(), [{ proxyId: one.id, cluster: 'c1', status: { ...status, reason: 'new' } }]);
        await certificates.deleteState(one.id, 'x');
        await certificates.setState(one.id, 'c1', 'y', status);
        await tables.clusters.deleteProxy(one.id, one.serverId);
        t.same(await certificates.states(), []);
      });
    });
  });

  t.test('vault entries are removed by prefix, letter by letter', async (t) => {
    await withStore(async ({ tables }) => {
      for (const key of ['a%:1', 'a%:2', 'A%:3', 'ab:4']) await tables.vault.set(key, 'v', undefined);
      await tables.vault.set('a%:1', 'w', 7);
      t.same(await tables.vault.find('a%:1'), { value: 'w', expiresAt: 7 });
      await tables.vault.deletePrefix('a%:');
      t.equal(await tables.vault.find('a%:2'), undefined);
      t.ok(await tables.vault.find('A%:3'));
      t.ok(await tables.vault.find('ab:4'));
    });
  });

  t.test('changes are read from where one was', async (t) => {
    await withStore(async ({ tables }) => {
      for (const id of [1, 2, 3]) await tables.changes.insert({ id, serverId: 's', body: '{}' }, id);
      t.same(
        (await tables.changes.after(1)).map((change) => change.id),
        [2, 3],
      );
      await tables.changes.deleteBefore(3);
      t.equal((await tables.changes.after(0)).length, 1);
    });
  });
}

function peer(name: string, more: Partial<Peer> = {}): Peer {
  return {
    id: asId(name),
    publicKey: asId(`key ${name}`),
    name,
    dnsLabel: name,
    ipv4: `100.64.0.${name.charCodeAt(0)}`,
    ipv6: `fd00::${name.charCodeAt(0)}`,
    meta: { hostname: name, os: '', osVersion: '', kernel: '', platform: '', version: '', uiVersion: '', ipv6: true },
    userId: undefined,
    loginExpirationEnabled: false,
    loginExpired: false,
    ephemeral: false,
    proxyCluster: undefined,
    connected: false,
    connectionIp: '',
    lastSeen: 1_000,
    lastLogin: 1_000,
    createdAt: 1_000,
    ...more,
  };
}

const setupKey: SetupKey = {
  id: asId('k'),
  name: 'k',
  type: 'reusable',
  hint: 'AB***',
  expiresAt: undefined,
  revoked: false,
  usedTimes: 0,
  usageLimit: 3,
  lastUsed: undefined,
  ephemeral: true,
  autoGroups: [asId('g')],
  createdAt: 1,
  updatedAt: 1,
};

export const user: User = {
  id: asId('u'),
  email: 'a@example.com',
  name: 'A',
  role: 'owner',
  blocked: false,
  service: false,
  autoGroups: [],
  connector: 'local',
  createdAt: 1,
  lastLogin: undefined,
};

export const service: ServiceRecord = {
  id: asId('s'),
  name: 's',
  domain: 's.proxy.test',
  mode: 'http',
  listenPort: undefined,
  portAutoAssigned: false,
  cluster: 'proxy.test',
  targets: [
    {
      targetId: 'a',
      targetType: 'peer',
      path: '/',
      protocol: 'http',
      host: '',
      port: 80,
      enabled: true,
      options: { ...defaultTargetOptions, customHeaders: { 'X-A': 'b' } },
    },
  ],
  enabled: true,
  passHostHeader: true,
  rewriteRedirects: false,
  auth: { oidc: { enabled: true, groups: [asId('g')] }, password: undefined, pin: { enabled: true, hash: 'h' }, headers: [] },
  issuers: ['local'],
  restrictions: noRestrictions,
  access: {
    ...plainAccess,
    proofs: [['oidc', 'pin']],
    rules: [{ name: 'hook', action: 'bypass', observe: false, when: { ...anything, paths: ['/hook'] }, proofs: [] }],
  },
  private: false,
  tlsAt: 'gateway',
  web: defaultWeb,
  stream: defaultStream,
  accessGroups: [],
  createdAt: 1,
  certificateIssuedAt: undefined,
};

function entry(index: number): AccessLogEntry {
  return {
    id: `entry-${String(index).padStart(4, '0')}`,
    serviceId: index % 2 === 0 ? asId('s') : undefined,
    timestamp: index,
    protocol: 'http',
    method: 'GET',
    host: 'app.test',
    path: index % 2 === 0 ? '/a_b' : '/aXb',
    durationMs: 1.5,
    status: 200,
    sourceIp: '192.0.2.1',
    userId: 'u',
    authMethod: 'oidc',
    authSuccess: true,
    bytesUp: 1,
    bytesDown: 2 ** 40,
    reason: 'session',
  };
}
