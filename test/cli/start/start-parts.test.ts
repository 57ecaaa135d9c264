// The parts of `meshgate start` that can be told without starting anything.
import { X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openLocalCa } from '../../../src/cli/start/local-ca.ts';
import { parseStartOptions } from '../../../src/cli/start/options.ts';
import { takeStateDirectory } from '../../../src/cli/start/preflight.ts';

async function folder(t: Test): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'mg-'));
  t.teardown(() => rm(path, { recursive: true, force: true }));
  return path;
}

void t.test('flags have defaults, and an upstream is taken apart', async (t) => {
  t.match(parseStartOptions([]), { port: 8443, controlPort: 8444, hostname: 'app.localhost', upstream: undefined });
  for (const [text, upstream] of [
    ['http://127.0.0.1:3000', { protocol: 'http', host: '127.0.0.1', port: 3000 }],
    ['https://[::1]', { protocol: 'https', host: '::1', port: 443 }],
  ] as const) {
    t.match(parseStartOptions(['--upstream', text]), { upstream });
  }
  t.equal(parseStartOptions(['--help']), 'help');
});

void t.test('wrong flags are refused with the flag’s name', async (t) => {
  for (const args of [
    ['--upstream', 'ftp://x'],
    ['--upstream', 'http://x/path'],
    ['--port', '0'],
    ['--port', '70000'],
    ['--port', '8444'],
    ['--hostname', 'localhost'],
    ['--log-level', 'loud'],
    ['x'],
  ]) {
    t.throws(() => parseStartOptions(args), { code: 'START_FLAG_INVALID' }, args.join(' '));
  }
});

void t.test('the local authority is kept, its key private, and its certificates renewed only where names change', async (t) => {
  const directory = await folder(t);
  const [cert, key] = [join(directory, 'leaf.crt'), join(directory, 'leaf.key')];
  const ca = await openLocalCa(directory);
  await ca.ensure(['app.localhost'], cert, key);
  const first = await readFile(cert, 'utf8');
  const leaf = new X509Certificate(first);
  t.ok(leaf.verify(new X509Certificate(await readFile(ca.certFile)).publicKey), 'signed by the authority');
  t.equal(leaf.checkHost('app.localhost'), 'app.localhost');
  t.equal(leaf.checkHost('other.localhost'), undefined);
  for (const file of [key, join(directory, 'ca-key.pem')]) t.equal((await stat(file)).mode & 0o777, 0o600);

  const again = await openLocalCa(directory);
  t.equal(again.certPem, ca.certPem, 'the same authority');
  await again.ensure(['app.localhost'], cert, key);
  t.equal(await readFile(cert, 'utf8'), first, 'a fresh certificate stays');
  await again.ensure(['app.localhost', 'b.localhost'], cert, key);
  t.not(await readFile(cert, 'utf8'), first, 'another name makes a new one');
});

void t.test('one mesh a state directory: a second start is refused, the lock of a process that is gone is taken over', async (t) => {
  const directory = await folder(t);
  const lock = await takeStateDirectory(directory);
  await writeFile(join(directory, 'start.pid'), '1\n');
  await t.rejects(takeStateDirectory(directory), { code: 'START_ALREADY_RUNNING' });
  await lock.release();
  await writeFile(join(directory, 'start.pid'), '999999999\n');
  await (await takeStateDirectory(directory)).release();
});
