// Holds the house: which folder may import which, and how large a file may grow. Imports that point up are a design error.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import t from 'tap';

const source = resolve(import.meta.dirname, '../src');

/** Folder → the folders that it may import; ranks strictly decrease, so no circle can form. */
const house: Readonly<Record<string, readonly string[]>> = {
  lib: [],
  model: ['lib'],
  crypto: ['lib'],
  wire: ['lib'],
  rpc: ['wire', 'crypto', 'lib'],
  wireguard: ['wire', 'crypto', 'lib'],
  netstack: ['wire', 'lib'],
  identity: ['crypto', 'model', 'lib'],
  metrics: ['model', 'lib'],
  overlay: ['wireguard', 'netstack', 'wire', 'crypto', 'model', 'lib'],
  control: ['rpc', 'wire', 'crypto', 'model', 'lib'],
  mesh: ['overlay', 'control', 'crypto', 'model', 'lib'],
  publish: ['identity', 'wire', 'crypto', 'model', 'lib'],
  server: ['rpc', 'metrics', 'identity', 'wire', 'crypto', 'model', 'lib'],
  agent: ['mesh', 'metrics', 'publish', 'model', 'lib'],
  gateway: ['mesh', 'metrics', 'publish', 'identity', 'control', 'wire', 'model', 'lib'],
  cli: ['server', 'agent', 'gateway', 'lib'],
};

/** Folders that others import only at their index.ts. */
const closed = ['server', 'agent', 'gateway', 'mesh', 'metrics'];

/** A package whose types stop at a door → the places that may import it. */
const doors: Readonly<Record<string, readonly string[]>> = {
  'node:ffi': ['lib/ffi.ts'],
  'node:sqlite': ['server/store/'],
  pg: ['server/store/'],
  'node:http2': ['publish/http/', 'publish/tls/', 'rpc/'],
  '@grpc/grpc-js': ['rpc/'],
  'oidc-provider': ['server/idp/'],
  'openid-client': ['identity/'],
  pino: ['lib/log-writer.ts'],
  'acme-client': ['publish/certs/acme/'],
  'prom-client': ['metrics/registry.ts'],
  'mmdb-lib': ['gateway/geo/geo-database.ts'],
  re2js: ['lib/linear-pattern.ts'],
  '@peculiar/x509': ['crypto/client-authority.ts', 'cli/start/local-ca.ts'],
  yaml: ['agent/discovery/services-file.ts'],
  ws: ['overlay/path/', 'server/relay/', 'server/dashboard/', 'server/front.ts'],
};

/** The servers of the mesh's edges keep no state of the product, so each can run alone. */
const standalone = ['server/signal/', 'server/relay/', 'server/stun/'];

const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));

function importsOf(file: string): readonly string[] {
  const text = readFileSync(join(source, file), 'utf8');
  return [...text.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*'([^']+)'/g)].map((match) => match[1] ?? '');
}

void t.test('every import goes down the table of the house', async (t) => {
  const wrong: string[] = [];
  for (const file of files) {
    const folder = file.split('/')[0] ?? '';
    const allowed = house[folder];
    if (allowed === undefined) {
      if (file !== 'index.ts') wrong.push(`${file}: no row in the table of the house`);
      continue;
    }
    for (const specifier of importsOf(file)) {
      if (specifier.startsWith('.')) {
        const target = relative(source, resolve(source, dirname(file), specifier));
        if (target.split('/')[0] !== folder) wrong.push(`${file}: ${specifier} leaves its folder; write #${target}`);
        if (!specifier.endsWith('.ts') && !specifier.endsWith('.js')) wrong.push(`${file}: ${specifier} has no extension`);
      } else if (specifier.startsWith('#')) {
        const target = specifier.slice(1);
        const room = target.split('/')[0] ?? '';
        if (room !== folder && !allowed.includes(room)) wrong.push(`${file}: ${folder}/ must not import ${room}/ (${specifier})`);
        if (room === folder) wrong.push(`${file}: ${specifier} is in its own folder; write a relative path`);
        if (room !== folder && closed.includes(room) && target !== `${room}/index.ts`)
          wrong.push(`${file}: ${room}/ is imported only at its index.ts`);
      }
    }
  }
  t.same(wrong, []);
});

void t.test('foreign types stop at their door', async (t) => {
  const wrong: string[] = [];
  for (const file of files) {
    for (const specifier of importsOf(file)) {
      const door = Object.entries(doors).find(([name]) => specifier === name || specifier.startsWith(`${name}/`))?.[1];
      if (door !== undefined && !door.some((place) => file.startsWith(place))) wrong.push(`${file}: ${specifier} stops at ${door.join(', ')}`);
    }
  }
  t.same(wrong, []);
});

void t.test('native code is called in one file for each accelerator, and in their common loader', async (t) => {
  const callers = files.filter((file) => /\bdlopen\(|\bDynamicLibrary\(/.test(readFileSync(join(source, file), 'utf8')));
  t.same(callers.toSorted(), [
    'crypto/ffi-openssl.ts',
    'lib/ffi-socket.ts',
    'overlay/system/tun-device.ts',
    'overlay/udp/ffi-flows.ts',
    'overlay/udp/ffi-udp.ts',
    'overlay/udp/readiness.ts',
  ]);
});

void t.test('signal, relay and STUN can run without the rest of the server', async (t) => {
  const wrong: string[] = [];
  for (const file of files.filter((name) => standalone.some((place) => name.startsWith(place)))) {
    for (const specifier of importsOf(file).filter((name) => name.startsWith('.'))) {
      const target = relative(source, resolve(source, dirname(file), specifier));
      if (!target.startsWith(file.split('/').slice(0, 2).join('/'))) wrong.push(`${file}: ${target}`);
    }
  }
  t.same(wrong, []);
});

void t.test('protocol engines take time and randomness as arguments', async (t) => {
  const wrong: string[] = [];
  for (const file of files.filter((name) => /^(?:wire|wireguard|netstack|crypto)\//.test(name))) {
    const text = readFileSync(join(source, file), 'utf8').replaceAll(/\/\/.*|\/\*[\s\S]*?\*\//g, '');
    for (const word of ['setTimeout', 'setInterval', 'Date.now', 'performance.now', 'Math.random', 'node:net', 'node:dgram']) {
      if (text.includes(word)) wrong.push(`${file}: ${word}`);
    }
  }
  t.same(wrong, []);
});

void t.test('a file holds one concept', async (t) => {
  const large = files
    .filter((file) => !file.includes('/gen/'))
    .map((file) => ({ file, lines: readFileSync(join(source, file), 'utf8').split('\n').length }));
  t.same(
    large.filter(({ lines }) => lines > 500).map(({ file, lines }) => `${file}: ${lines} lines`),
    [],
  );
});
