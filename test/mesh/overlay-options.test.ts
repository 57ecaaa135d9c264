// What the settings `wireguard.*` come to: the preshared key from its file, lazy connections, and what is refused.
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { silentLogger } from '#lib/log.ts';
import { parse, parseOrThrow } from '#lib/schema.ts';
import { overlayOptions } from '../../src/mesh/overlay-options.ts';
import { wireguardSettings } from '../../src/mesh/settings.ts';

const settings = (change: Readonly<Record<string, unknown>> = {}) => parseOrThrow(wireguardSettings, change);

t.test('by default there is no preshared key, and the control plane says who is lazy', async (t) => {
  t.same(await overlayOptions(settings(), silentLogger), {
    mode: 'userspace',
    hostPrograms: false,
    listenPort: 0,
    mtu: 1280,
    accelerators: 'auto',
    forceRelay: false,
    lazyIdleMs: 900_000,
  });
  t.match(await overlayOptions(settings({ exitNodes: true }), silentLogger), { exitNodes: true });
  t.match(await overlayOptions(settings({ lazy: 'on', lazyIdle: '2m' }), silentLogger), { lazy: true, lazyIdleMs: 120_000 });
  t.match(await overlayOptions(settings({ lazy: 'off' }), silentLogger), { lazy: false });
});

t.test('the preshared key is read from its file; a file without a good key is an error', async (t) => {
  const folder = t.testdir();
  const file = join(folder, 'psk');
  const read = () => overlayOptions(settings({ presharedKeyFile: file }), silentLogger);
  await t.rejects(read(), { code: 'MESH_PRESHARED_KEY' }, 'not there');
  const key = randomBytes(32);
  await writeFile(file, `${key.toString('base64')}\n`, { mode: 0o600 });
  t.same(Buffer.from((await read()).presharedKey ?? []), key);
  for (const bad of ['', 'x', randomBytes(31).toString('base64'), Buffer.alloc(32).toString('base64')]) {
    await writeFile(file, bad);
    await t.rejects(read(), { code: 'MESH_PRESHARED_KEY' }, bad);
  }
});

t.test('Rosenpass is refused in words', async (t) => {
  const parsed = parse(wireguardSettings, { rosenpass: true });
  t.match(JSON.stringify(parsed), /Rosenpass is not supported/);
  t.equal(settings({ rosenpass: false }).rosenpass, false);
});
