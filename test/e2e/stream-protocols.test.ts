// What people run over TCP and UDP, through gateway, overlay and agent: OpenSSH, DNS, Redis, MQTT, and a game's datagrams.
import { execFile, spawn, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { startKnot, withoutKnot } from '../support/knot.ts';
import { freePort } from '../support/mesh.ts';
import { type Json, startUpstream, until } from '../support/parts.ts';
import { body, publish, type Site, startSite } from './stream-site.ts';

const run = promisify(execFile);

const sshd = '/usr/sbin/sshd';

/** Why a suite cannot run here; false where it can. */
function without(...programs: readonly string[]): string | false {
  const missing = programs.find((program) =>
    program.startsWith('/') ? !existsSync(program) : spawnSync('sh', ['-c', 'command -v "$0"', program]).status !== 0,
  );
  return missing === undefined ? false : `${missing} is not installed`;
}

/** A service's public port that leads to the port. */
async function published(site: Site, name: string, mode: 'tcp' | 'udp', target: number): Promise<number> {
  const port = await freePort();
  await publish(site, body(site, name, mode, target, port));
  return port;
}

async function folderOf(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'mg-protocols-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

function serve(t: Test, program: string, ...args: readonly string[]): void {
  const child = spawn(program, args, { stdio: 'ignore' });
  t.teardown(async () => {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  });
}

function reachable(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

void t.test('real protocols cross the mesh', { timeout: 400_000 }, async (t) => {
  const site = await startSite(t);

  await t.test('OpenSSH: shell, scp, port forwarding', { skip: without(sshd, 'ssh', 'scp', 'ssh-keygen') }, async (t) => {
    const folder = await folderOf(t);
    const file = (name: string): string => join(folder, name);
    for (const name of ['host', 'user']) await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file(name)]);
    const own = await freePort();
    await writeFile(
      file('sshd_config'),
      `Port ${own}
ListenAddress 127.0.0.1
HostKey ${file('host')}
AuthorizedKeysFile ${file('user.pub')}
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
Subsystem sftp internal-sftp
`,
    );
    // Where Debian's own service would make it.
    if (process.getuid?.() === 0) await mkdir('/run/sshd', { recursive: true, mode: 0o755 });
    serve(t, sshd, '-D', '-f', file('sshd_config'));
    await until('sshd listens', () => reachable(own));
    const port = await published(site, 'ssh', 'tcp', own);
    const [type, key] = (await readFile(file('host.pub'), 'utf8')).split(' ');
    await writeFile(file('known_hosts'), `[127.0.0.1]:${port} ${type} ${key}\n`);
    const options = [
      '-F',
      'none',
      '-i',
      file('user'),
      '-o',
      `UserKnownHostsFile=${file('known_hosts')}`,
      '-o',
      'BatchMode=yes',
      '-o',
      'IdentitiesOnly=yes',
    ];
    const host = `${userInfo().username}@127.0.0.1`;
    const shell = async (command: string): Promise<string> => (await run('ssh', [...options, '-p', String(port), host, command])).stdout.trim();
    t.equal(await shell('echo $((6 * 7))'), '42');

    const bytes = randomBytes(20_000_000);
    await writeFile(file('there'), bytes);
    const begun = performance.now();
    await run('scp', [...options, '-P', String(port), file('there'), `${host}:${file('far')}`]);
    await run('scp', [...options, '-P', String(port), `${host}:${file('far')}`, file('back')]);
    t.comment(`figure: scp of 20 MB there and back took ${(performance.now() - begun).toFixed(0)} ms`);
    const digest = (data: Buffer): string => createHash('sha256').update(data).digest('hex');
    t.equal(digest(await readFile(file('back'))), digest(bytes));

    const upstream = await startUpstream(t);
    const local = await freePort();
    const tunnel = spawn('ssh', [...options, '-N', '-p', String(port), '-L', `127.0.0.1:${local}:127.0.0.1:${upstream.port}`, host], {
      stdio: 'ignore',
    });
    t.teardown(() => void tunnel.kill('SIGKILL'));
    await until('the tunnel is open', () => reachable(local), 20_000);
    const socket = connect({ host: '127.0.0.1', port: local });
    socket.write('forwarded');
    t.same(await once(socket, 'data'), [Buffer.from('forwarded')]);
    socket.destroy();
  });

  await t.test('DNS: the same names over UDP and TCP', { skip: withoutKnot === false ? without('kdig') : withoutKnot }, async (t) => {
    const zone = 'dns.test';
    const knot = await startKnot(t, zone, { name: 'k', algorithm: 'hmac-sha256', secret: randomBytes(32).toString('base64') });
    const ports = { udp: await published(site, 'dns-udp', 'udp', knot.port), tcp: await published(site, 'dns-tcp', 'tcp', knot.port) };
    const ask = async (way: 'udp' | 'tcp', name: string): Promise<string> =>
      (
        await run('kdig', ['@127.0.0.1', '-p', String(ports[way]), ...(way === 'tcp' ? ['+tcp'] : ['+notcp']), '+short', '+retry=5', name, 'A'])
      ).stdout.trim();
    // The way is made with the first question.
    await until('UDP answers', async () => (await ask('udp', zone)) === '127.0.0.1', 30_000);
    for (const way of ['udp', 'tcp'] as const) {
      const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => ask(way, `host${i}.${zone}`)));
      t.same([...new Set(answers)], ['127.0.0.1'], way);
    }
  });

  await t.test('Redis', { skip: without('redis-server', 'redis-cli', 'redis-benchmark') }, async (t) => {
    const own = await freePort();
    serve(t, 'redis-server', '--port', String(own), '--bind', '127.0.0.1', '--save', '', '--dir', await folderOf(t));
    await until('redis listens', () => reachable(own));
    const port = await published(site, 'redis', 'tcp', own);
    const cli = async (...args: readonly string[]): Promise<string> => (await run('redis-cli', ['-p', String(port), ...args])).stdout.trim();
    t.equal(await cli('set', 'greeting', 'hello'), 'OK');
    t.equal(await cli('get', 'greeting'), 'hello');
    const { stdout } = await run('redis-benchmark', ['-p', String(port), '-t', 'set,get', '-n', '20000', '-c', '50', '-q', '--csv'], {
      timeout: 120_000,
    });
    t.match(stdout, /"SET","[\d.]+"/);
    t.comment(
      `figure: redis-benchmark, 50 connections: ${[...stdout.matchAll(/"(SET|GET)","([\d.]+)"/g)].map(([, what, rate]) => `${what} ${rate}/s`).join(', ')}`,
    );
  });

  await t.test('MQTT', { skip: without('mosquitto', 'mosquitto_sub', 'mosquitto_pub') }, async (t) => {
    const own = await freePort();
    const config = join(await folderOf(t), 'mosquitto.conf');
    await writeFile(config, `listener ${own} 127.0.0.1\nallow_anonymous true\npersistence false\nuser root\n`);
    serve(t, 'mosquitto', '-c', config);
    await until('mosquitto listens', () => reachable(own));
    const port = String(await published(site, 'mqtt', 'tcp', own));
    const subscriber = spawn('mosquitto_sub', ['-p', port, '-q', '1', '-t', 'news/#', '-C', '100'], { stdio: ['ignore', 'pipe', 'inherit'] });
    let heard = '';
    subscriber.stdout.on('data', (chunk: Buffer) => (heard += chunk.toString()));
    // Kept by the broker: it tells when the subscriber is there.
    await run('mosquitto_pub', ['-p', port, '-q', '1', '-r', '-t', 'news/0', '-m', 'first']);
    await until('it has subscribed', () => Promise.resolve(heard.includes('first')));
    const publisher = spawn('mosquitto_pub', ['-p', port, '-q', '1', '-t', 'news/1', '-l'], { stdio: ['pipe', 'ignore', 'inherit'] });
    publisher.stdin.end(Array.from({ length: 99 }, (_, i) => `message ${i}\n`).join(''));
    await once(subscriber, 'close');
    t.same(heard.trim().split('\n'), ['first', ...Array.from({ length: 99 }, (_, i) => `message ${i}`)]);
  });

  await t.test('a game: 1,000 players, a datagram each every half second, none lost', async (t) => {
    const [players, ticks, tickMs] = [1_000, 10, 500];
    const target = createSocket({ type: 'udp4', recvBufferSize: 4_000_000 });
    target.on('message', (bytes, from) => target.send(bytes, from.port, from.address));
    target.bind(0, '127.0.0.1');
    await once(target, 'listening');
    t.teardown(() => void target.close());
    const port = await published(site, 'game', 'udp', target.address().port);
    const heard = new Set<string>();
    let ticking = false;
    // One address has 64 flows at most.
    const sockets = await Promise.all(
      Array.from({ length: players }, async (_, i): Promise<UdpSocket> => {
        const socket = createSocket('udp4');
        socket.on('message', (bytes) => (!ticking || bytes.includes('tick') ? heard.add(bytes.toString()) : undefined));
        socket.bind(0, `127.3.0.${1 + Math.floor(i / 50)}`);
        await once(socket, 'listening');
        return socket;
      }),
    );
    t.teardown(() => sockets.forEach((socket) => void socket.close()));
    const say = (i: number, text: string): void => sockets[i]?.send(`${i} ${text}`, port, '127.0.0.1');
    // Everybody joins: until a player's way is made, what was said is said again.
    for (const i of sockets.keys()) {
      say(i, 'join');
      if (i % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await until(
      'all have joined',
      () => {
        for (const i of sockets.keys()) if (!heard.has(`${i} join`)) say(i, 'join');
        return Promise.resolve(heard.size === players);
      },
      60_000,
    );
    t.ok(Number(((await site.gateway.status())['streams'] as Json)['udpFlows']) >= players);
    // Late answers to what was said twice are not counted.
    heard.clear();
    ticking = true;
    for (let tick = 0; tick < ticks; tick++) {
      // Spread over the tick, as players are.
      const begun = performance.now();
      for (const i of sockets.keys()) {
        say(i, `tick ${tick}`);
        if (i % 20 === 19) await new Promise((resolve) => setTimeout(resolve, 0));
        while (performance.now() - begun < (i / players) * tickMs) await new Promise((resolve) => setTimeout(resolve, 1));
      }
    }
    await until('the last have come back', () => Promise.resolve(heard.size === players * ticks), 5_000).catch(() => undefined);
    t.comment(`figure: ${heard.size} of ${players * ticks} datagrams of ${players} UDP flows came back`);
    t.equal(heard.size, players * ticks);
  });
});
