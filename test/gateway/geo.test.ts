// Countries and networks of addresses from the operator's files: what they say, what becomes of a broken or missing one, and of a new one.
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { parseIp, type IpAddress } from '#lib/ip.ts';
import { Scope } from '#lib/lifecycle.ts';
import { silentLogger } from '#lib/log.ts';
import { geoPollMs } from '#gateway/constants.ts';
import { type Geo, openGeo } from '#gateway/geo/geo.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { writeMmdb } from '../support/mmdb.ts';
import { until } from '../support/until.ts';

const ip = (text: string): IpAddress => parseIp(text) ?? { family: 4, bytes: new Uint8Array(4) };
const country = (code: string): { country: { iso_code: string; names: Record<string, string> } } => ({
  country: { iso_code: code, names: { en: code } },
});

async function open(t: Test, files: { country?: Buffer | string; asn?: Buffer }): Promise<{ geo: Geo; folder: string; clock: ManualClock }> {
  const folder = await mkdtemp(join(tmpdir(), 'meshgate-geo-'));
  const scope = new Scope();
  t.teardown(async () => {
    await scope.close();
    await rm(folder, { recursive: true });
  });
  const [countryFile, asnFile] = [join(folder, 'country.mmdb'), join(folder, 'asn.mmdb')];
  if (files.country !== undefined) await writeFile(countryFile, files.country);
  if (files.asn !== undefined) await writeFile(asnFile, files.asn);
  const clock = new ManualClock();
  return {
    geo: await openGeo({ countryFile, asnFile: files.asn === undefined ? undefined : asnFile }, scope, { clock, log: silentLogger }),
    folder,
    clock,
  };
}

void t.test('an address has the country and the network that the files say', async (t) => {
  const { geo } = await open(t, {
    country: writeMmdb({
      '192.0.2.0/24': country('DE'),
      '192.0.2.128/25': country('fr'),
      '2001:db8::/32': country('NL'),
      '198.51.100.0/24': { registered_country: { iso_code: 'US' } },
      '203.0.113.0/24': { country: { iso_code: 'not a code' } },
      '203.0.114.0/24': { country: 'IT' },
    }),
    asn: writeMmdb({ '192.0.2.0/24': { autonomous_system_number: 64_500, autonomous_system_organization: 'x' } }),
  });
  for (const [address, code] of [
    ['192.0.2.1', 'DE'],
    ['192.0.2.200', 'FR'],
    ['2001:db8:1::1', 'NL'],
    ['198.51.100.1', undefined],
    ['203.0.113.1', undefined],
    ['203.0.114.1', 'IT'],
    ['10.0.0.1', undefined],
    ['::1', undefined],
  ] as const) {
    t.equal(geo.country(ip(address)), code, address);
    t.equal(geo.country(ip(address)), code, 'and again');
  }
  t.equal(geo.network(ip('192.0.2.9')), 64_500);
  t.equal(geo.network(ip('192.0.3.9')), undefined);
  t.same([geo.problem('countries'), geo.problem('networks')], ['', '']);
});

void t.test('row M-7: a missing or broken file says nothing of anybody, and says so', async (t) => {
  const missing = await open(t, {});
  t.equal(missing.geo.country(ip('192.0.2.1')), undefined);
  t.match(missing.geo.problem('countries'), /countries cannot be told: .*country\.mmdb/);
  t.match(missing.geo.problem('networks'), /geo\.asnFile is not set/);
  const whole = writeMmdb({ '192.0.2.0/24': country('DE') });
  for (const broken of ['', 'no data base', whole.subarray(0, 40), whole.subarray(whole.length - 60)]) {
    const { geo } = await open(t, { country: broken });
    t.equal(geo.country(ip('192.0.2.1')), undefined);
  }
  for (let i = 0; i < whole.length; i++) {
    const bent = Buffer.from(whole);
    bent[i] = (bent[i] ?? 0) ^ 0xff;
    const { geo } = await open(t, { country: bent });
    geo.country(ip('192.0.2.1'));
    geo.country(ip('2001:db8::1'));
  }
  t.pass('nothing throws, whichever byte is wrong');
});

void t.test('a new file counts when it is there, a broken one does not', async (t) => {
  const { geo, folder, clock } = await open(t, { country: writeMmdb({ '192.0.2.0/24': country('DE') }) });
  const replace = async (data: Buffer | string): Promise<void> => {
    await writeFile(join(folder, 'next'), data);
    await rename(join(folder, 'next'), join(folder, 'country.mmdb'));
  };
  const before = geo.version();
  t.equal(geo.country(ip('192.0.2.1')), 'DE');
  await replace(writeMmdb({ '192.0.2.0/24': country('FR') }));
  clock.advance(geoPollMs);
  await until('the new file is read', () => geo.version() > before);
  t.equal(geo.country(ip('192.0.2.1')), 'FR');
  await replace('no data base');
  clock.advance(geoPollMs);
  for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve));
  t.equal(geo.country(ip('192.0.2.1')), 'FR', 'the last one that could be read holds');
  t.equal(geo.problem('countries'), '');
});

void t.test('what a look-up and a file of many networks cost', async (t) => {
  const records = Object.fromEntries(
    Array.from({ length: 50_000 }, (_none, i) => [`${10 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}.0/24`, country(i % 2 === 0 ? 'DE' : 'FR')]),
  );
  const file = writeMmdb(records);
  const before = process.memoryUsage();
  const { geo } = await open(t, { country: file });
  const after = process.memoryUsage();
  const addresses = Array.from({ length: 2_000 }, (_none, i) => ip(`10.${i >> 4}.${(i & 15) * 16}.1`));
  for (let i = 0; i < 500; i++) geo.country(ip(`11.${i & 255}.0.1`));
  const begun = performance.now();
  for (const address of addresses) geo.country(address);
  const first = performance.now() - begun;
  for (const address of addresses) geo.country(address);
  const again = performance.now() - begun - first;
  const megabytes = (after.arrayBuffers - before.arrayBuffers) / 1_048_576;
  t.comment(
    `figure: ${(file.length / 1_048_576).toFixed(1)} MB file: ${megabytes.toFixed(1)} MB of memory; ${((first / 2_000) * 1_000).toFixed(2)} µs for a new address, ${((again / 2_000) * 1_000).toFixed(2)} µs for a known one`,
  );
  t.ok(first < 1_000);
});
