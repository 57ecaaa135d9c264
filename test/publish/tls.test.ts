// TLS at the door: the right certificate or none, versions, tickets, deadlines; and certificates that change on disk.
import { connect as tcpConnect } from 'node:net';
import { connect as tlsConnect, type TLSSocket } from 'node:tls';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import { openCertificateDirectory, type CertificateDirectory } from '#publish/index.ts';
import { exchange, issue, mapping, path, readAll, startEcho, startFixture, type Fixture } from './harness.ts';

function attempt(fixture: Fixture, options: object): Promise<TLSSocket | string> {
  return new Promise((resolve) => {
    const socket = tlsConnect({ host: '127.0.0.1', port: fixture.port, ca: fixture.ca, ALPNProtocols: ['http/1.1'], ...options });
    socket.once('secureConnect', () => resolve(socket));
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(`${error.code ?? ''} ${error.message}`));
  });
}

void t.test('a name that is not ours gets an alert, never another’s certificate', async (t) => {
  const fixture = await startFixture([]);
  t.teardown(() => fixture.close());
  for (const servername of ['c.test', 'x.a.test', 'wild.test', 'x.y.wild.test']) {
    t.match(await attempt(fixture, { servername, rejectUnauthorized: false }), /unrecognized.?name/i, servername);
  }
  t.match(await attempt(fixture, { rejectUnauthorized: false }), /unrecognized.?name/i);
  for (const servername of ['A.Test', 'x.wild.test']) {
    const socket = await attempt(fixture, { servername });
    if (typeof socket === 'string') t.fail(socket);
    else socket.destroy();
  }
});

void t.test('versions, protocols and tickets', async (t) => {
  const fixture = await startFixture([]);
  t.teardown(() => fixture.close());
  t.match(
    await attempt(fixture, { servername: 'a.test', minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL@SECLEVEL=0' }),
    /alert|protocol|version/i,
  );
  t.match(await attempt(fixture, { servername: 'a.test', ALPNProtocols: ['spdy/1'] }), /no.application.protocol/i);
  const two = await attempt(fixture, { servername: 'a.test', maxVersion: 'TLSv1.2' });
  t.equal(typeof two === 'string' ? two : two.getProtocol(), 'TLSv1.2');
  if (typeof two !== 'string') two.destroy();
  const first = await attempt(fixture, { servername: 'a.test' });
  if (typeof first === 'string') throw new TypeError(first);
  const ticket = await new Promise<Buffer>((resolve) => first.once('session', resolve));
  first.destroy();
  const second = await attempt(fixture, { servername: 'a.test', session: ticket });
  t.equal(typeof second === 'string' ? second : second.isSessionReused(), true);
  if (typeof second !== 'string') second.destroy();
});

void t.test('what does not speak TLS is closed without a word', async (t) => {
  const fixture = await startFixture([]);
  t.teardown(() => fixture.close());
  for (const bytes of ['GET / HTTP/1.1\r\n\r\n', '\x80\x2e\x01\x00', '\x16\x03\x01\x00\x04\x02\x00\x00\x00']) {
    const socket = tcpConnect(fixture.port, '127.0.0.1');
    const all = readAll(socket);
    socket.on('error', () => undefined);
    socket.write(bytes, 'latin1');
    t.equal(await all, '');
  }
});

void t.test('more connections of one address than allowed are closed', async (t) => {
  const { CONNECTIONS_PER_ADDRESS } = await import('#publish/constants.ts');
  const fixture = await startFixture([]);
  t.teardown(() => fixture.close());
  const sockets = Array.from({ length: CONNECTIONS_PER_ADDRESS }, () => tcpConnect(fixture.port, '127.0.0.1'));
  await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once('connect', resolve))));
  const surplus = tcpConnect(fixture.port, '127.0.0.1');
  surplus.on('error', () => undefined);
  await new Promise((resolve) => surplus.once('close', resolve).resume());
  t.equal(fixture.publisher.stats().refusedConnections, 1);
  for (const socket of sockets) socket.destroy();
});

async function withDirectory(): Promise<{ root: string; open: () => Promise<CertificateDirectory> }> {
  const root = await mkdtemp(join(tmpdir(), 'meshgate-certs-'));
  const directory = openCertificateDirectory;
  return { root, open: () => directory(root, { clock: systemClock, log: silentLogger }) };
}

function changed(directory: CertificateDirectory): Promise<void> {
  return new Promise((resolve) => {
    const stop = directory.onChange(() => {
      stop();
      resolve();
    });
  });
}

void t.test('a directory of certificates: both layouts, exact before wildcard, and reasons for what is unusable', async (t) => {
  const { root, open } = await withDirectory();
  const exact = await issue(['app.test']);
  const wild = await issue(['*.test']);
  await mkdir(join(root, 'live'));
  await writeFile(join(root, 'live', 'fullchain.pem'), exact.certPem);
  await writeFile(join(root, 'live', 'privkey.pem'), exact.keyPem);
  await writeFile(join(root, 'wild.crt'), wild.certPem);
  await writeFile(join(root, 'wild.key'), wild.keyPem);
  await writeFile(join(root, 'alone.crt'), wild.certPem);
  await writeFile(join(root, 'mixed.crt'), wild.certPem);
  await writeFile(join(root, 'mixed.key'), exact.keyPem);
  await writeFile(join(root, 'junk.crt'), 'junk');
  await writeFile(join(root, 'junk.key'), 'junk');
  await mkdir(join(root, 'empty'));
  await symlink(join(root, 'live'), join(root, 'link'));
  const directory = await open();
  t.teardown(async () => {
    await directory.close();
    await rm(root, { recursive: true });
  });
  t.equal(directory.find('app.test')?.fingerprint, exact.fingerprint);
  t.equal(directory.find('other.test')?.fingerprint, wild.fingerprint);
  t.equal(directory.find('x.other.test'), undefined);
  t.equal(directory.find('test'), undefined);
  t.same(
    directory.problems().map(({ source }) => source),
    ['alone.crt', 'empty', 'junk.crt', 'mixed.crt'],
  );
  t.match(Object.fromEntries(directory.problems().map(({ source, problem }) => [source, problem])), {
    'alone.crt': /alone\.key is missing/,
    'mixed.crt': /does not belong/,
    'junk.crt': /no PEM certificate/,
  });
});

void t.test('a renewed certificate is served to the next connection; a broken one is not', async (t) => {
  const { root, open } = await withDirectory();
  const write = async (certPem: string, keyPem: string): Promise<void> => {
    await writeFile(join(root, 'a.key'), keyPem);
    await writeFile(join(root, 'a.crt'), certPem);
  };
  const first = await issue(['a.test']);
  await write(first.certPem, first.keyPem);
  const directory = await open();
  const echo = await startEcho();
  const fixture = await startFixture([mapping('a.test', [path(echo.port)])], { certificates: directory });
  t.teardown(async () => {
    await Promise.all([fixture.close(), echo.close(), directory.close()]);
    await rm(root, { recursive: true });
  });
  const serial = async (): Promise<string> => {
    const socket = await fixture.connect('a.test');
    const { fingerprint256 } = socket.getPeerCertificate();
    socket.destroy();
    return fingerprint256.replaceAll(':', '').toLowerCase();
  };
  t.equal(await serial(), first.fingerprint);
  const second = await issue(['a.test']);
  const change = changed(directory);
  await write(second.certPem, second.keyPem);
  await change;
  t.equal(await serial(), second.fingerprint);
  await writeFile(join(root, 'a.crt'), 'half a file');
  await directory.reload();
  t.match(directory.problems(), [{ source: 'a.crt' }]);
  t.equal(await serial(), second.fingerprint);
  await rm(join(root, 'a.crt'));
  await directory.reload();
  t.equal(directory.find('a.test'), undefined);
  t.match(await exchange(fixture, '', 'a.test').catch((error: Error) => error.message), /unrecognized/);
  await t.rejects(openCertificateDirectory(join(root, 'none'), { clock: systemClock, log: silentLogger }), { code: 'PUBLISH_CERTIFICATE_DIRECTORY' });
});
