// OCSP stapling against OpenSSL's responder: what is fetched is checked, stapled where a client asks, and never given out stale or forged.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as tlsConnect } from 'node:tls';
import t, { type Test } from 'tap';
import { silentLogger } from '#lib/log.ts';
import { readCertificate, type Certificate } from '#publish/index.ts';
import { Stapler } from '#publish/certs/ocsp/stapler.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { freePort } from '../support/mesh.ts';
import { until } from '../support/until.ts';
import { mapping, path, startEcho, startFixture } from './harness.ts';

const without = spawnSync('sh', ['-c', 'command -v openssl']).status === 0 ? false : 'openssl is not installed';

interface Authority {
  readonly folder: string;
  /** A certificate that names the responder; `extra` are more lines of its extensions. */
  issue(name: string, port: number, extra?: string): Promise<Certificate & { readonly ca: string }>;
  revoke(name: string): Promise<void>;
  respond(t: Test, port: number, signer?: string): Promise<() => void>;
}

async function makeAuthority(t: Test): Promise<Authority> {
  const folder = await mkdtemp(join(tmpdir(), 'mg-ocsp-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const openssl = (...args: readonly string[]): void => {
    const done = spawnSync('openssl', args, { cwd: folder, encoding: 'utf8' });
    if (done.status !== 0) throw new Error(done.stderr);
  };
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  for (const ca of ['ca', 'evil'])
    openssl('req', '-x509', ...key, '-keyout', `${ca}.key`, '-out', `${ca}.pem`, '-days', '30', '-subj', '/CN=OCSP test CA');
  let index = '';
  let serial = 1_000;
  const line = (kind: 'V' | 'R', number: number, name: string): string =>
    `${kind}\t401231235959Z\t${kind === 'R' ? '250101000000Z' : ''}\t${number}\tunknown\t/CN=${name}\n`;
  const numbers = new Map<string, number>();
  await writeFile(join(folder, 'index.txt'), '');
  const sign = async (name: string, extensions: string): Promise<void> => {
    const number = serial++;
    numbers.set(name, number);
    await writeFile(join(folder, `${name}.ext`), extensions);
    openssl('req', '-new', ...key, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`);
    const by = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-set_serial', `0x${number}`, '-days', '20', '-extfile', `${name}.ext`];
    openssl('x509', '-req', '-in', `${name}.csr`, '-out', `${name}.pem`, ...by);
    index += line('V', number, name);
    await writeFile(join(folder, 'index.txt'), index);
  };
  await sign('delegate', 'extendedKeyUsage=OCSPSigning\n');
  await sign('imposter', 'extendedKeyUsage=serverAuth\n');
  return {
    folder,
    async issue(name, port, extra = '') {
      await sign(name, `subjectAltName=DNS:${name}\nauthorityInfoAccess=OCSP;URI:http://127.0.0.1:${port}/\n${extra}`);
      const [leaf, ca, keyPem] = await Promise.all([`${name}.pem`, 'ca.pem', `${name}.key`].map((file) => readFile(join(folder, file), 'utf8')));
      const certificate = readCertificate(name, `${leaf ?? ''}${ca ?? ''}`, keyPem ?? '');
      if ('problem' in certificate) throw new TypeError(certificate.problem);
      return { ...certificate, ca: ca ?? '' };
    },
    async revoke(name) {
      index = index.replace(line('V', numbers.get(name) ?? 0, name), line('R', numbers.get(name) ?? 0, name));
      await writeFile(join(folder, 'index.txt'), index);
    },
    async respond(t, port, signer = 'ca') {
      const args = [
        'ocsp',
        '-index',
        'index.txt',
        '-port',
        String(port),
        '-rsigner',
        `${signer}.pem`,
        '-rkey',
        `${signer}.key`,
        '-CA',
        'ca.pem',
        '-nmin',
        '10',
      ];
      const child = spawn('openssl', args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
      t.teardown(() => child.kill('SIGKILL'));
      let said = '';
      for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (said += chunk.toString('utf8')));
      await until('the responder waits', () => said.includes('waiting for OCSP client'));
      return () => child.kill('SIGKILL');
    },
  };
}

void t.test('a client that asks gets the responder’s answer, one that does not gets the handshake alone', { skip: without }, async (t) => {
  const authority = await makeAuthority(t);
  const port = await freePort();
  const certificate = await authority.issue('a.test', port, 'tlsfeature=status_request\n');
  await authority.respond(t, port);
  const echo = await startEcho();
  const fixture = await startFixture([mapping('a.test', [path(echo.port)])], {
    certificates: { find: (host) => (host === 'a.test' ? certificate : undefined) },
  });
  t.teardown(() => Promise.all([fixture.close(), echo.close()]));
  const ask = (requestOCSP: boolean): Promise<Buffer | undefined> =>
    new Promise((resolve, reject) => {
      let answer: Buffer | undefined;
      const socket = tlsConnect({
        host: '127.0.0.1',
        port: fixture.port,
        servername: 'a.test',
        ca: certificate.ca,
        ALPNProtocols: ['http/1.1'],
        requestOCSP,
      });
      socket.on('OCSPResponse', (bytes: Buffer) => (answer = bytes));
      socket.once('secureConnect', () => {
        socket.destroy();
        resolve(answer);
      });
      socket.once('error', reject);
    });
  const answer = await ask(true);
  t.ok((answer?.length ?? 0) > 100, 'the very first handshake has it');
  t.equal(await ask(false), undefined);
  t.same(await ask(true), answer, 'from the cache');
});

void t.test('answers are good only from the issuer or its delegate, about this certificate, and for their time', { skip: without }, async (t) => {
  const authority = await makeAuthority(t);
  const got = async (signer: string, prepare: (name: string) => Promise<void> = () => Promise.resolve()): Promise<boolean> => {
    const port = await freePort();
    const name = `${signer}-${port}.test`;
    const certificate = await authority.issue(name, port);
    await prepare(name);
    const stop = await authority.respond(t, port, signer);
    const clock = new ManualClock(Date.now());
    const stapler = new Stapler({ clock, log: silentLogger });
    t.ok(stapler.server(certificate), 'it names a responder');
    const waiting = stapler.staple(certificate);
    const staple = await waiting;
    stop();
    if (staple !== undefined) {
      clock.advance(11 * 60_000);
      t.equal(await stapler.staple(certificate), undefined, 'not after its end');
    }
    stapler.close();
    return staple !== undefined;
  };
  t.equal(await got('ca'), true);
  t.equal(await got('delegate'), true);
  t.equal(await got('imposter'), false, 'a certificate of the issuer that is not for OCSP');
  t.equal(await got('evil'), false, 'another key of the same name');
  t.equal(await got('ca', (name) => authority.revoke(name)), false, 'revoked');
});

void t.test('a responder that sends rubbish, or too much, costs nothing but its answer', { skip: without }, async (t) => {
  const authority = await makeAuthority(t);
  for (const body of [Buffer.alloc(0), Buffer.from('3003020100', 'hex'), Buffer.from('30030a0106', 'hex'), Buffer.alloc(200_000, 0x30)]) {
    const server = createServer((_request, response) => response.end(body)).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    t.teardown(() => server.close());
    const { port } = server.address() as AddressInfo;
    const certificate = await authority.issue(`r${port}.test`, port);
    const clock = new ManualClock(Date.now());
    const stapler = new Stapler({ clock, log: silentLogger });
    stapler.server(certificate);
    t.equal(await stapler.staple(certificate), undefined, `${body.length} bytes`);
    stapler.close();
  }
});
