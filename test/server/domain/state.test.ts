import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t from 'tap';
import { utf8 } from '#lib/bytes.ts';
import { vaultKeyLength, vaultValueBytes } from '../../../src/server/domain/constants.ts';
import { addGatewayToken, addOwner, addPeer, keyOf, ManualClock, masterKey, openDomain, seeded, system } from './support.ts';

t.test('what is written is there after reopening: serial, network, addresses', async (t) => {
  const storeUrl = `sqlite:${join(t.testdir(), 'server.db')}`;
  const first = await openDomain({ storeUrl });
  await addPeer(first.domain, 'a');
  await first.domain.peers.setConnected(keyOf('a'), true, '192.0.2.1');
  const before = { map: await first.domain.maps.build(keyOf('a')), account: first.domain.accountId };
  await first.domain.close();
  const second = await openDomain({ storeUrl, random: seeded('second run') });
  t.same({ map: await second.domain.maps.build(keyOf('a')), account: second.domain.accountId }, before);
  t.match(await second.domain.peers.list(), [{ connected: false }], 'nobody is connected to a server that has just started');
  await addPeer(second.domain, 'b');
  t.ok((await second.domain.maps.build(keyOf('a'))).serial > before.map.serial);
  await second.domain.close();
});

t.test('another master key does not open the database', async (t) => {
  const storeUrl = `sqlite:${join(t.testdir(), 'server.db')}`;
  await (await openDomain({ storeUrl })).domain.close();
  await t.rejects(openDomain({ storeUrl, masterKey: new Uint8Array(32) }), { code: 'DOMAIN_MASTER_KEY_WRONG' });
  await t.rejects(openDomain({ storeUrl, masterKey: new Uint8Array(16) }), { code: 'DOMAIN_INVALID' });
  await (await openDomain({ storeUrl })).domain.close();
});

t.test('no secret is in the file', async (t) => {
  const folder = t.testdir();
  const storeUrl = `sqlite:${join(folder, 'server.db')}`;
  const { domain } = await openDomain({ storeUrl });
  const owner = await addOwner(domain, 'owner@example.com', 'correct horse battery');
  const key = await domain.setupKeys.create(
    { name: 'k', type: 'reusable', expiresInSeconds: 0, usageLimit: 0, ephemeral: false, autoGroups: [] },
    system,
  );
  const token = await domain.tokens.create(owner, 't', 1, system);
  const proxy = await addGatewayToken(domain, 'p');
  await domain.vault.set('idp:key', utf8('the vault value'));
  await domain.close();
  const file = readFileSync(join(folder, 'server.db'), 'latin1');
  t.match(file, /owner@example\.com/, 'the file is looked at in the right way');
  for (const secret of ['correct horse battery', key.plain, token.plain, proxy.plain, 'the vault value', Buffer.from(masterKey).toString('latin1')]) {
    t.notOk(file.includes(secret));
  }
});

t.test('row D-16: what was acknowledged survives kill -9', { timeout: 60_000 }, async (t) => {
  const storeUrl = `sqlite:${join(t.testdir(), 'server.db')}`;
  const child = spawn(process.execPath, [join(import.meta.dirname, 'writer.ts'), storeUrl], { stdio: ['ignore', 'pipe', 'inherit'] });
  const acknowledged: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    acknowledged.push(line);
    if (acknowledged.length === 40) child.kill('SIGKILL'); // it goes on writing until then
  }
  t.ok(acknowledged.length >= 40);
  const { domain } = await openDomain({ storeUrl });
  const names = new Set((await domain.peers.list()).map((peer) => peer.name));
  t.same(
    acknowledged.filter((name) => !names.has(name)),
    [],
  );
  const key = (await domain.setupKeys.list())[0];
  t.equal(key?.usedTimes, names.size, 'each peer was counted with its registration, and nothing else was');
  t.ok((await domain.maps.build(keyOf('peer-0'))).serial >= BigInt(acknowledged.length));
  await domain.close();
});

t.test('the vault keeps, forgets in time, and has limits', async (t) => {
  const { domain, clock } = await openDomain();
  const { vault } = domain;
  await vault.set('idp:a', utf8('one'));
  await vault.set('idp:b', utf8('two'), clock.wall() + 1_000);
  await vault.set('other', new Uint8Array(0));
  t.same(Buffer.from((await vault.get('idp:a')) ?? []).toString(), 'one');
  t.equal((await vault.get('other'))?.length, 0);
  clock.advance(1_000);
  t.equal(await vault.get('idp:b'), undefined);
  await vault.deletePrefix('idp:');
  t.equal(await vault.get('idp:a'), undefined);
  await vault.delete('other');
  t.equal(await vault.get('other'), undefined);
  await vault.set('k'.repeat(vaultKeyLength), new Uint8Array(vaultValueBytes));
  await t.rejects(vault.set('k', new Uint8Array(vaultValueBytes + 1)), { code: 'DOMAIN_INVALID' });
  await t.rejects(vault.set('k'.repeat(vaultKeyLength + 1), new Uint8Array(1)), { code: 'DOMAIN_INVALID' });
  await t.rejects(vault.deletePrefix(''), { code: 'DOMAIN_INVALID' });
  await domain.close();
});

t.test('a listener that fails does not keep others from hearing', async (t) => {
  const { domain } = await openDomain();
  const heard: string[] = [];
  domain.changes.subscribe(() => {
    throw new TypeError('a listener');
  });
  const stop = domain.changes.subscribe((change) => heard.push(change.kind));
  await addPeer(domain, 'a');
  t.same(heard, ['network']);
  stop();
  await addPeer(domain, 'b');
  t.same(heard, ['network']);
  await domain.close();
});

t.test('a database that was brought back from a copy does not number its maps below what peers have seen', async (t) => {
  const folder = t.testdir();
  const storeUrl = `sqlite:${join(folder, 'a.db')}`;
  const first = await openDomain({ storeUrl });
  await addPeer(first.domain, 'a');
  await first.domain.close();
  await copyFile(join(folder, 'a.db'), join(folder, 'copy.db'));
  const later = new ManualClock(first.clock.wall() + 3_600_000);
  const second = await openDomain({ storeUrl, clock: later, random: seeded('second run') });
  for (let index = 0; index < 20; index++) await addPeer(second.domain, `later-${index}`);
  const seen = (await second.domain.maps.build(keyOf('a'))).serial;
  await second.domain.close();
  const restored = await openDomain({ storeUrl: `sqlite:${join(folder, 'copy.db')}`, clock: new ManualClock(later.wall() + 60_000) });
  t.teardown(() => restored.domain.close());
  t.ok((await restored.domain.maps.build(keyOf('a'))).serial > seen);
});
