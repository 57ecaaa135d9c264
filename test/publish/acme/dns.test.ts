// DNS-01: signed updates of a real name server, a command in its stead, wildcards and several names in one certificate.
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { dnsCommandRecords } from '#publish/certs/acme/dns-command.ts';
import { dnsServerRecords, type DnsServerSettings } from '#publish/certs/acme/dns-server.ts';
import { startKnot, withoutKnot } from '../../support/knot.ts';
import { startPebble, withoutPebble } from '../../support/pebble.ts';
import { until } from '../../support/until.ts';
import { issued, openAutomatic, stateFolder } from './issue.ts';

const secret = Buffer.alloc(32, 7);
const key = { name: 'meshgate', algorithm: 'hmac-sha256', secret: secret.toString('base64') };
const soon = (): AbortSignal => AbortSignal.timeout(10_000);

function settings(port: number, changes: Partial<DnsServerSettings> = {}): DnsServerSettings {
  return { server: { host: '127.0.0.1', port }, zone: undefined, keyName: key.name, keyAlgorithm: 'hmac-sha256', secret, ...changes };
}

void t.test('records are added beside each other and taken away one by one', { skip: withoutKnot }, async (t) => {
  for (const keyAlgorithm of ['hmac-sha256', 'hmac-sha384', 'hmac-sha512'] as const) {
    const knot = await startKnot(t, 'example.com', { ...key, algorithm: keyAlgorithm });
    const records = dnsServerRecords(settings(knot.port, { keyAlgorithm }));
    const name = '_acme-challenge.a.b.example.com';
    await records.add(name, 'one', soon());
    await records.add(name, 'two', soon());
    t.same([...(await knot.txt(name))].sort(), ['one', 'two'], `${keyAlgorithm}: the zone is found from the name`);
    await records.remove(name, 'one', soon());
    t.same(await knot.txt(name), ['two']);
    await records.remove(name, 'two', soon());
    await records.remove(name, 'two', soon());
    t.same(await knot.txt(name), []);
  }
});

void t.test('a name server that refuses, forges or is silent is told apart', { skip: withoutKnot }, async (t) => {
  const knot = await startKnot(t, 'example.com', key);
  const add = (changes: Partial<DnsServerSettings>, name = '_acme-challenge.example.com'): Promise<void> =>
    dnsServerRecords(settings(knot.port, changes)).add(name, 'x', AbortSignal.timeout(1_500));
  await t.rejects(add({ secret: Buffer.alloc(32, 8) }), /refused to add _acme-challenge\.example\.com: (BADSIG|NOTAUTH)/);
  await t.rejects(add({ keyName: 'other' }), /refused to add .*: (BADKEY|NOTAUTH)/);
  await t.rejects(add({}, '_acme-challenge.example.org'), /refused to add/);
  t.same(await knot.txt('_acme-challenge.example.com'), []);

  const silent = createServer(() => undefined).listen(0, '127.0.0.1');
  const forging = createServer((socket) => {
    socket.on('data', (chunk: Buffer) => {
      // Says yes with the right id and without a signature.
      const answer = Buffer.concat([chunk.subarray(2, 4), Buffer.from([0xa8, 0, 0, 0, 0, 0, 0, 0, 0, 0])]);
      socket.end(Buffer.concat([Buffer.from([0, answer.length]), answer]));
    });
  }).listen(0, '127.0.0.1');
  t.teardown(() => [silent, forging].map((server) => server.close()));
  await Promise.all([silent, forging].map((server) => new Promise((resolve) => server.once('listening', resolve))));
  const portOf = (server: typeof silent): number => (server.address() as { port: number }).port;
  await t.rejects(add({ server: { host: '127.0.0.1', port: portOf(silent) } }), /does not answer/);
  await t.rejects(add({ server: { host: '127.0.0.1', port: portOf(forging) } }), /the answer is not signed/);
});

void t.test('a wildcard and its parent in one certificate, by a signed update', { skip: withoutPebble || withoutKnot }, async (t) => {
  const knot = await startKnot(t, 'example.com', key);
  const pebble = await startPebble(t, { dns: `127.0.0.1:${knot.port}` });
  const together = [['*.apps.example.com', 'apps.example.com']];
  const automatic = await openAutomatic(t, pebble, { together }, { dns: dnsServerRecords(settings(knot.port)) });
  automatic.want(['a.apps.example.com', 'b.apps.example.com', 'apps.example.com']);
  await issued(automatic, 'a.apps.example.com');
  t.equal(automatic.find('b.apps.example.com'), automatic.find('a.apps.example.com'));
  t.same([...(automatic.find('apps.example.com')?.names ?? [])].sort(), ['*.apps.example.com', 'apps.example.com']);
  t.equal(automatic.find('x.apps.example.com'), undefined, 'only hosts that are served');
  t.equal(automatic.list().length, 1);
  const certificate = automatic.find('a.apps.example.com');
  automatic.want(['*.apps.example.com']);
  for (const host of ['x.apps.example.com', '*.apps.example.com']) t.equal(automatic.find(host), certificate, 'a service with a wildcard domain');
  for (const host of ['apps.example.com', 'x.y.apps.example.com', 'example.com']) t.equal(automatic.find(host), undefined, host);
  await until('the records are gone', async () => (await knot.txt('_acme-challenge.apps.example.com')).length === 0);
});

void t.test('a command: what it is told, what it may see, and what becomes of its failure', async (t) => {
  const folder = await stateFolder(t);
  const [program, log] = [join(folder, 'hook'), join(folder, 'log')];
  await writeFile(program, `#!/bin/sh\necho "$MESHGATE_DNS_ACTION $MESHGATE_DNS_NAME $MESHGATE_DNS_VALUE $API_TOKEN $SECRET_OF_OURS $*" >> ${log}\n`);
  await chmod(program, 0o700);
  process.env['SECRET_OF_OURS'] = 'never';
  const records = dnsCommandRecords({ command: [program, 'fixed'], env: { PATH: '/usr/bin:/bin', API_TOKEN: 'tok' } });
  await records.add('_acme-challenge.a.test', 'v$(id)', soon());
  await records.remove('_acme-challenge.a.test', 'v$(id)', soon());
  t.equal(await readFile(log, 'utf8'), 'add _acme-challenge.a.test v$(id) tok  fixed\nremove _acme-challenge.a.test v$(id) tok  fixed\n');
  const shell = (script: string, signal: AbortSignal): Promise<void> =>
    dnsCommandRecords({ command: ['/bin/sh', '-c', script], env: {} }).add('a', 'b', signal);
  await t.rejects(shell('echo no such zone >&2; exit 3', soon()), /the DNS command ended with 3: no such zone/);
  await t.rejects(shell('head -c 100000 /dev/zero | tr "\\0" x >&2; exit 1', soon()), /^.{1,500}$/);
  await t.rejects(shell('sleep 60 & sleep 60', AbortSignal.timeout(200)), /took too long/);
  await t.rejects(dnsCommandRecords({ command: [join(folder, 'none')], env: {} }).add('a', 'b', soon()), /cannot be run/);
});
