// Programs that only open connections, at services with sign-in: `meshgate connect` unlocks with a token and carries; OpenSSH through it.
import { execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { userInfo } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { type ExposeMesh, runCommand, startExposeMesh } from '../support/expose.ts';
import { freePort } from '../support/mesh.ts';
import { call, findPeer, type Json, startUpstream, until } from '../support/parts.ts';

const run = promisify(execFile);
const main = resolve(import.meta.dirname, '../../src/cli/main.ts');
const sshd = '/usr/sbin/sshd';
const noSsh =
  existsSync(sshd) && spawnSync('ssh', ['-V']).status === 0 && process.getuid?.() === 0 ? false : 'needs root, openssh-server and openssh-client';

/** A TCP service with sign-in at a port of this machine, exposed by an agent; a machine’s token for it. */
async function publish(
  t: Test,
  mesh: ExposeMesh,
  port: number,
): Promise<{ readonly domain: string; readonly url: URL; readonly tokenFile: string; readonly tokenPath: string }> {
  const agent = await mesh.startAgent('office', { defaultHost: '' });
  await until('the agent has joined', () =>
    findPeer(mesh.plane, 'office').then(
      () => true,
      () => false,
    ),
  );
  const listen = String(await freePort());
  const cli = runCommand(t, ['expose', String(port), '--tcp', '--sso', '--listen-port', listen, '--state-dir', agent.stateDir]);
  const url = new URL(await cli.line());
  t.equal(url.protocol, 'tcp:');
  await until('it is active', async () => (await mesh.exposed()).some(({ meta }) => (meta as Json)['status'] === 'active'), 30_000);
  const machine = await call(mesh.plane, 'POST', '/api/users', { name: 'backup', role: 'user', auto_groups: [], is_service_user: true });
  const tokens = `/api/users/${String(machine['id'])}/tokens`;
  const made = await call(mesh.plane, 'POST', tokens, { name: 'nightly', expires_in: 1 });
  const tokenFile = join(mesh.plane.folder, 'token');
  await writeFile(tokenFile, `${String(made['plain_token'])}\n`, { mode: 0o600 });
  return { domain: url.hostname, url, tokenFile, tokenPath: `${tokens}/${String((made['personal_access_token'] as Json)['id'])}` };
}

async function answers(port: number, text: string): Promise<string | undefined> {
  const socket = connect({ host: '127.0.0.1', port });
  socket.on('error', () => undefined);
  socket.write(text);
  const answer = await new Promise<string | undefined>((done) => {
    socket.once('data', (bytes: Buffer) => done(bytes.toString()));
    socket.once('close', () => done(undefined));
  });
  socket.destroy();
  return answer;
}

void t.test('a local port leads to a service with sign-in, for whoever has a token, as long as it is good', { timeout: 120_000 }, async (t) => {
  const mesh = await startExposeMesh(t);
  const upstream = await startUpstream(t);
  const { domain, url, tokenFile, tokenPath } = await publish(t, mesh, upstream.port);
  const flags = ['--ca', mesh.plane.caFile, '--page-port', String(mesh.gateway.publicPort)];

  const locked = runCommand(t, ['connect', `${domain}:${url.port}`, ...flags]);
  const closed = Number((await locked.line(/^127/)).split(':')[1]);
  t.equal(await answers(closed, 'hello'), undefined);
  await until('it says what to do', () => locked.err.some((line) => /sign in at its page first/.test(line)));
  t.equal(upstream.connections, 0, 'nothing reached the inside');
  const nameless = runCommand(t, ['connect', domain, ...flags]);
  t.equal(await nameless.exited, 2);
  const wrong = join(mesh.plane.folder, 'wrong-token');
  await writeFile(wrong, 'nbp_nothing');
  const refused = runCommand(t, ['connect', domain, '--token-file', wrong, ...flags]);
  t.equal(await refused.exited, 1);
  t.match(refused.err.join('\n'), /refused the token: token_invalid/);

  const cli = runCommand(t, ['connect', domain, '--token-file', tokenFile, ...flags]);
  const port = Number((await cli.line(/^127/)).split(':')[1]);
  t.equal(await answers(port, 'hello'), 'hello');
  const echo = spawn(process.execPath, [main, 'connect', domain, '--stdio', '--token-file', tokenFile, ...flags], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.teardown(() => echo.kill('SIGKILL'));
  const large = 'x'.repeat(1_000_000);
  echo.stdin.end(large);
  let got = 0;
  for await (const chunk of echo.stdout as AsyncIterable<Buffer>) got += chunk.length;
  t.equal(got, large.length, 'a half-close passes, and what was sent comes back whole');

  const open: Socket = connect({ host: '127.0.0.1', port });
  open.on('error', () => undefined);
  open.write('hello');
  await once(open, 'data');
  const cut = new Promise<void>((done) => void open.once('close', () => done()));
  await call(mesh.plane, 'DELETE', tokenPath);
  await cut;
  t.pass('the end of the token ends what is open');
  t.equal(await cli.end('SIGINT'), 0);
});

void t.test('OpenSSH: the entry of ssh-config, the pinned host key, a shell, and a copy', { skip: noSsh, timeout: 120_000 }, async (t) => {
  const mesh = await startExposeMesh(t);
  const folder = join(mesh.plane.folder, 'ssh');
  await mkdir(folder, { mode: 0o700 });
  await mkdir('/run/sshd', { recursive: true });
  for (const name of ['host', 'client', 'imposter']) await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, name)]);
  const sshPort = await freePort();
  const config = [
    `ListenAddress 127.0.0.1:${sshPort}`,
    `HostKey ${join(folder, 'host')}`,
    `AuthorizedKeysFile ${join(folder, 'client.pub')}`,
    'PasswordAuthentication no',
    'UsePAM no',
    'StrictModes no',
    'PermitRootLogin yes',
    'PidFile none',
    'Subsystem sftp internal-sftp',
  ];
  await writeFile(join(folder, 'sshd_config'), `${config.join('\n')}\n`);
  const server = spawn(sshd, ['-D', '-e', '-f', join(folder, 'sshd_config')], { stdio: 'ignore' });
  t.teardown(() => server.kill('SIGKILL'));
  await until('sshd listens', () => answers(sshPort, 'SSH-2.0-probe\r\n').then((banner) => banner?.startsWith('SSH-2.0') === true));
  const { domain, tokenFile } = await publish(t, mesh, sshPort);
  const pins = join(folder, 'pins');
  const flags = ['--token-file', tokenFile, '--ca', mesh.plane.caFile, '--page-port', String(mesh.gateway.publicPort), '--known-hosts', pins];

  const cli = runCommand(t, ['ssh-config', domain, '--user', userInfo().username, ...flags]);
  t.equal(await cli.exited, 0, cli.err.join('\n'));
  const hostKey = (await readFile(join(folder, 'host.pub'), 'utf8')).split(' ').slice(0, 2).join(' ');
  t.equal((await readFile(pins, 'utf8')).trim(), `${domain} ${hostKey}`, 'what it shows is pinned');
  await writeFile(join(folder, 'ssh_config'), `${cli.out.join('\n')}\n`);
  const ssh = ['-F', join(folder, 'ssh_config'), '-i', join(folder, 'client'), '-o', 'IdentitiesOnly=yes', '-o', 'BatchMode=yes'];
  t.equal((await run('ssh', [...ssh, domain, 'echo hello from the shell'])).stdout, 'hello from the shell\n');
  await writeFile(join(folder, 'sent'), 'y'.repeat(300_000));
  await run('scp', [...ssh, join(folder, 'sent'), `${domain}:${join(folder, 'received')}`]);
  t.equal((await readFile(join(folder, 'received'))).length, 300_000);

  const other = runCommand(t, ['ssh-config', domain, '--host-key-file', join(folder, 'imposter.pub'), ...flags]);
  t.equal(await other.exited, 0, other.err.join('\n'));
  t.equal((await readFile(pins, 'utf8')).trim().split('\n').length, 1, 'the newer pin takes the place of the older');
  await t.rejects(run('ssh', [...ssh, domain, 'true']), /Host key verification failed/, 'a server with another key is refused');
});
