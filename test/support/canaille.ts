// Canaille, an OpenID provider written by others, as a program of its own behind TLS. It comes from PyPI on the first use and is kept
// below node_modules/.cache; where it cannot be had, the reason is told for a skip.
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { get } from 'node:https';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { freePort } from './mesh.ts';
import type { TestCa } from './test-ca.ts';

const run = promisify(execFile);

const version = '0.3.6';
const cache = resolve(import.meta.dirname, '../../node_modules/.cache/meshgate');
const installMs = 80_000;
const readyMs = 40_000;

/** Fills the database, then serves; one process, so that its parts are loaded once. Ends with the test, however that ends. */
const driver = `
import json, os, sys, threading
from canaille.commands import cli
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
for args in json.load(open(sys.argv[1])):
    cli(args, standalone_mode=False)
`;

/** The folder that the installed packages are in, or in words why there is none. */
export async function installCanaille(): Promise<{ readonly folder: string } | { readonly missing: string }> {
  let python: string;
  try {
    python = (await run('python3', ['-c', 'import sys; print("%d.%d" % sys.version_info[:2])'])).stdout.trim();
    await run('python3', ['-m', 'pip', '--version']);
  } catch {
    return { missing: 'needs Python 3 with pip (Debian package python3-pip)' };
  }
  const folder = join(cache, `canaille-${version}-python${python}`);
  if (existsSync(folder)) return { folder };
  await mkdir(cache, { recursive: true });
  const fresh = await mkdtemp(`${folder}-`);
  try {
    const wanted = `canaille[front,oidc,server,sqlite]==${version}`;
    await run('python3', ['-m', 'pip', 'install', '--quiet', '--only-binary=:all:', '--no-compile', '--target', fresh, wanted], {
      timeout: installMs,
    });
    // On all cores, which pip does not; without it each start takes three times as long.
    await run('python3', ['-m', 'compileall', '-q', '-j', '0', fresh], { timeout: installMs });
    await rename(fresh, folder);
  } catch (error) {
    await rm(fresh, { recursive: true, force: true });
    // Another suite may have been faster.
    if (!existsSync(folder)) return { missing: `needs Canaille ${version} from PyPI: ${lastLine(error)}` };
  }
  return { folder };
}

function lastLine(error: unknown): string {
  const text = typeof error === 'object' && error !== null && 'stderr' in error ? String(error.stderr).trim() : '';
  return text.split('\n').at(-1) || 'pip did not end in time';
}

export interface Canaille {
  readonly issuer: string;
  readonly clientId: string;
  readonly clientSecret: string;
  /** A user with an address and a name, and one without an address. */
  readonly dana: { readonly login: string; readonly password: string; readonly email: string; readonly name: string };
  readonly eve: { readonly login: string; readonly password: string };
  /** Ends the process and waits until it is gone. */
  stop(): Promise<void>;
}

/** Starts it on a free port of idp.localhost with one client; resolves once it answers. The caller stops it. */
export async function startCanaille(packages: string, ca: Pick<TestCa, 'caPem' | 'issue'>, redirectUris: readonly string[]): Promise<Canaille> {
  const folder = await mkdtemp(join(tmpdir(), 'meshgate-canaille-'));
  const port = await freePort();
  const issuer = `https://idp.localhost:${port}`;
  const client = { clientId: 'meshgate', clientSecret: 'a-secret-that-only-the-two-know' };
  const dana = { login: 'dana', password: 'long walks at night', email: 'dana@corp.test', name: 'Dana Fox' };
  const eve = { login: 'eve', password: 'rather short days' };
  const { certPem, keyPem } = await ca.issue(['idp.localhost']);
  const files = Object.fromEntries(['cert.pem', 'key.pem', 'canaille.toml', 'commands.json'].map((name) => [name, join(folder, name)]));
  await writeFile(files['cert.pem'] ?? '', certPem);
  await writeFile(files['key.pem'] ?? '', keyPem, { mode: 0o600 });
  await writeFile(
    files['canaille.toml'] ?? '',
    [
      'SECRET_KEY = "of-this-test-only"',
      `SERVER_NAME = "idp.localhost:${port}"`,
      'PREFERRED_URL_SCHEME = "https"',
      '[CANAILLE]',
      'DATABASE = "sql"',
      '[CANAILLE_SQL]',
      `DATABASE_URI = ${JSON.stringify(`sqlite:///${join(folder, 'db.sqlite')}`)}`,
      '[CANAILLE_HYPERCORN]',
      `BIND = ["127.0.0.1:${port}"]`,
      'WORKERS = 0',
      `CERTFILE = ${JSON.stringify(files['cert.pem'])}`,
      `KEYFILE = ${JSON.stringify(files['key.pem'])}`,
    ].join('\n'),
  );
  const person = ['create', 'user', '--quiet', '--user-name'];
  const commands = [
    ['install'],
    [...person, dana.login, '--password', dana.password, '--emails', dana.email, '--family-name', 'Fox', '--formatted-name', dana.name],
    [...person, eve.login, '--password', eve.password, '--family-name', 'Low', '--formatted-name', 'Eve Low'],
    [
      ...words('create client --quiet --client-name Meshgate --client-uri https://mesh.localhost/ --client-id'),
      client.clientId,
      ...words('--grant-types authorization_code --response-types code --scope openid --scope email --scope profile'),
      ...words('--token-endpoint-auth-method client_secret_basic --client-secret'),
      client.clientSecret,
      ...redirectUris.flatMap((uri) => ['--redirect-uris', uri]),
    ],
    // The tokens of a client are for the client itself.
    ['set', 'client', client.clientId, '--quiet', '--audience', client.clientId],
    ['run'],
  ];
  await writeFile(files['commands.json'] ?? '', JSON.stringify(commands));
  const child = spawn('python3', ['-c', driver, files['commands.json'] ?? ''], {
    cwd: folder,
    env: { ...process.env, PYTHONPATH: packages, CANAILLE_CONFIG: files['canaille.toml'] ?? '' },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const stop = stopper(child, folder);
  try {
    await untilServing(child, `${issuer}/.well-known/openid-configuration`, ca.caPem);
  } catch (error) {
    await stop();
    throw error;
  }
  return { issuer, ...client, dana, eve, stop };
}

function words(text: string): readonly string[] {
  return text.split(' ');
}

function stopper(child: ChildProcess, folder: string): () => Promise<void> {
  const gone = new Promise<void>((done) => child.once('exit', () => done()));
  return async () => {
    child.kill('SIGKILL');
    await gone;
    await rm(folder, { recursive: true, force: true });
  };
}

/** Waits for its line that says so, then for a first answer. */
async function untilServing(child: ChildProcess, url: string, ca: string): Promise<void> {
  let said = '';
  await new Promise<void>((done, fail) => {
    const late = setTimeout(() => fail(new Error(`Canaille is not ready:\n${said}`)), readyMs);
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        if (said.length < 100_000) said += chunk.toString();
        if (!said.includes('Running on https')) return;
        clearTimeout(late);
        done();
      });
    }
    child.once('exit', (code) => {
      clearTimeout(late);
      fail(new Error(`Canaille ended with ${code}:\n${said}`));
    });
  });
  await new Promise<void>((done, fail) => {
    get(url, { ca, lookup: (_host, _options, found) => found(null, [{ address: '127.0.0.1', family: 4 }]) }, (res) => {
      res.resume().once('end', done);
      if (res.statusCode !== 200) fail(new Error(`Canaille answers ${res.statusCode}`));
    }).once('error', fail);
  });
}
