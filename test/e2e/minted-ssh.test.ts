// SSH certificates minted at login, with a real sshd that trusts nothing else: a command, a copy and a forwarded port through gateway, overlay and
// agent; another principal and an expired certificate are refused.
import { execFile, spawn, spawnSync } from 'node:child_process';
import { createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { existsSync } from 'node:fs';
import { appendFile, mkdir, mkdtemp, readFile, stat, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { formatSshCertificate, formatSshKey, parseSshKey } from '#wire/ssh-certificate.ts';
import { runCommand } from '../support/expose.ts';
import { signMachineIn } from '../support/login.ts';
import { freePort } from '../support/mesh.ts';
import { call, cluster, startUpstream, until } from '../support/parts.ts';
import { body, publish, startSite } from './stream-site.ts';

const run = promisify(execFile);
const sshd = '/usr/sbin/sshd';
const noSsh =
  existsSync(sshd) && spawnSync('ssh', ['-V']).status === 0 && process.getuid?.() === 0 ? false : 'needs root, openssh-server and openssh-client';
const password = 'a long enough one';
const name = `ssh.${cluster}`;

function banner(port: number): Promise<boolean> {
  const socket = connect({ host: '127.0.0.1', port });
  socket.on('error', () => undefined);
  return new Promise((done) => {
    socket.once('data', (bytes: Buffer) => {
      socket.destroy();
      done(bytes.toString().startsWith('SSH-2.0'));
    });
    socket.once('close', () => done(false));
  });
}

void t.test('sshd lets in certificates made at login, and nothing else', { skip: noSsh, timeout: 240_000 }, async (t) => {
  const site = await startSite(t, async ({ ca, folder }) => {
    const { certPem, keyPem } = await ca.issue([name]);
    await mkdir(join(folder, 'certs'), { recursive: true });
    await writeFile(join(folder, 'certs', `${name}.key`), keyPem, { mode: 0o600 });
    await writeFile(join(folder, 'certs', `${name}.crt`), certPem);
  });
  const { plane } = site;
  const user = userInfo().username;
  await call(plane, 'POST', '/api/users', {
    email: 'bob@example.com',
    name: 'Bob',
    role: 'user',
    auto_groups: [],
    is_service_user: false,
    password,
  });
  const home = await mkdtemp(join(plane.folder, 'home-'));
  const env = await signMachineIn(t, plane, home, 'bob@example.com', password);

  const folder = join(plane.folder, 'sshd');
  await mkdir(folder, { mode: 0o700 });
  await mkdir('/run/sshd', { recursive: true });
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, 'host')]);
  const ca = runCommand(t, ['ssh-ca', '--api', plane.url, '--ca', plane.caFile], env);
  t.equal(await ca.exited, 0, ca.err.join('\n'));
  t.match(ca.out, [/^ssh-ed25519 \S+ meshgate$/]);
  await writeFile(join(folder, 'ca.pub'), `${ca.out.join('\n')}\n`);
  const sshPort = await freePort();
  const config = [
    `ListenAddress 127.0.0.1:${sshPort}`,
    `HostKey ${join(folder, 'host')}`,
    `TrustedUserCAKeys ${join(folder, 'ca.pub')}`,
    'AuthorizedKeysFile none',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'UsePAM no',
    'StrictModes no',
    'PermitRootLogin yes',
    'PidFile none',
    'Subsystem sftp internal-sftp',
  ];
  await writeFile(join(folder, 'sshd_config'), `${config.join('\n')}\n`);
  const server = spawn(sshd, ['-D', '-e', '-f', join(folder, 'sshd_config')], { stdio: 'ignore' });
  t.teardown(() => server.kill('SIGKILL'));
  await until('sshd listens', () => banner(sshPort));

  const listen = await freePort();
  const request = (certificates: object): object => ({
    ...body(site, 'ssh', 'tls', sshPort, listen, {
      auth: { bearer_auth: { enabled: true, distribution_groups: [] } },
      stream: { terminate: { client_certificate: { account: true } }, certificates },
    }),
  });
  const id = await publish(site, request({ ssh_principals: [user] }) as Readonly<Record<string, unknown>>);

  const flags = ['--ca', plane.caFile];
  const made = runCommand(t, ['ssh-config', name, ...flags], env);
  t.equal(await made.exited, 0, made.err.join('\n'));
  const file = join(folder, 'ssh_config');
  await writeFile(file, `${made.out.join('\n')}\n`);
  t.match(made.out.join('\n'), new RegExp(`User ${user}\n`), 'the first principal is who to be there');
  const keyFile = join(home, '.ssh', 'meshgate', name);
  t.equal((await stat(keyFile)).mode & 0o777, 0o600);
  const shown = await run('ssh-keygen', ['-L', '-f', `${keyFile}-cert.pub`]);
  t.match(shown.stdout, /Key ID: "bob@example.com at ssh\.edge\.localhost/);

  const ssh = ['-F', file, '-o', 'BatchMode=yes'];
  const options = { env: { ...process.env, ...env }, timeout: 30_000 };
  t.equal((await run('ssh', [...ssh, name, 'echo hello from the shell'], options)).stdout, 'hello from the shell\n');
  await writeFile(join(folder, 'sent'), 'y'.repeat(300_000));
  await run('scp', [...ssh, join(folder, 'sent'), `${name}:${join(folder, 'received')}`], options);
  t.equal((await readFile(join(folder, 'received'))).length, 300_000);

  const upstream = await startUpstream(t);
  const forwarded = await freePort();
  const tunnel = spawn('ssh', [...ssh, '-N', '-L', `127.0.0.1:${forwarded}:127.0.0.1:${upstream.port}`, name], { ...options, stdio: 'ignore' });
  t.teardown(() => tunnel.kill('SIGKILL'));
  const echo = (): Promise<string> =>
    new Promise((done) => {
      const socket = connect({ host: '127.0.0.1', port: forwarded });
      socket.on('error', () => undefined);
      socket.write('hello');
      socket.once('data', (bytes: Buffer) => {
        socket.destroy();
        done(bytes.toString());
      });
      socket.once('close', () => done(''));
    });
  await until('the port is forwarded', async () => (await echo()) === 'hello', 20_000);

  const whole = runCommand(t, ['ssh', name, ...flags, '--', 'echo', 'by', 'one', 'command'], env);
  t.equal(await whole.exited, 0, whole.err.join('\n'));
  t.match(whole.out, ['by one command']);

  await t.test('an expired certificate is refused, and the entry makes a new one by itself', async (t) => {
    // An authority of this test's own, which the server trusts as well: the account's makes no certificate for a time that is over.
    const { privateKey } = generateKeyPairSync('ed25519');
    const { x = '' } = createPublicKey(privateKey).export({ format: 'jwk' });
    const authority = new Uint8Array(Buffer.from(x, 'base64url'));
    await appendFile(join(folder, 'ca.pub'), `${formatSshKey(authority, 'test')}\n`);
    const publicKey = parseSshKey(await readFile(`${keyFile}.pub`, 'utf8'));
    if (publicKey === undefined) throw new TypeError('no key');
    const now = Math.floor(Date.now() / 1_000);
    const by = async (validBefore: number): Promise<string> => {
      const fields = { nonce: new Uint8Array(32), publicKey, serial: 1n, keyId: 'bob', principals: [user], extensions: [], authority };
      const line = formatSshCertificate(
        { ...fields, validAfter: now - 7_200, validBefore },
        (bytes) => new Uint8Array(sign(null, bytes, privateKey)),
        '',
      );
      await writeFile(join(folder, 'own-cert.pub'), `${line}\n`);
      const plain = made.out.filter((entry) => !/^Match|CertificateFile/.test(entry)).join('\n');
      await writeFile(join(folder, 'own_config'), `${plain}\n  CertificateFile ${join(folder, 'own-cert.pub')}\n`);
      return (await run('ssh', ['-F', join(folder, 'own_config'), '-o', 'BatchMode=yes', name, 'echo in'], options)).stdout;
    };
    t.equal(await by(now + 600), 'in\n', 'as long as it is good');
    await t.rejects(by(now - 60), /Permission denied/);
    const note = JSON.parse(await readFile(`${keyFile}.json`, 'utf8')) as { readonly principals: readonly string[] };
    await writeFile(`${keyFile}.json`, JSON.stringify({ ...note, expiresAt: Date.now() }));
    const before = await readFile(`${keyFile}-cert.pub`, 'utf8');
    t.equal((await run('ssh', [...ssh, name, 'echo again'], options)).stdout, 'again\n');
    t.not(await readFile(`${keyFile}-cert.pub`, 'utf8'), before, 'Match exec has it made anew');
  });

  await t.test('another principal is refused', async (t) => {
    await call(plane, 'PUT', `/api/reverse-proxies/services/${id}`, request({ ssh: true }));
    await writeFile(`${keyFile}.json`, '{}');
    const renewed = runCommand(t, ['ssh-certificate', name, ...flags], env);
    t.equal(await renewed.exited, 0, renewed.err.join('\n'));
    t.match((await run('ssh-keygen', ['-L', '-f', `${keyFile}-cert.pub`])).stdout, /Principals: \n\s+bob\n/, 'the local part of the address');
    await t.rejects(run('ssh', [...ssh, name, 'true'], options), /Permission denied/);
  });
});
