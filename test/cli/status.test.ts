// `meshgate status` against processes that tell their state over UNIX sockets.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { serveStatus } from '#lib/status-socket.ts';
import { findSockets, problemsOf } from '#cli/status.ts';
import { run } from './fake-io.ts';

/** A state directory with a short path: a UNIX socket's path has 107 bytes. */
async function stateDir(t: Test, ...below: readonly string[]): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'mg-'));
  t.teardown(() => rm(dir, { recursive: true, force: true }));
  for (const name of below) await mkdir(join(dir, name));
  return dir;
}

const since = '2026-01-02T03:04:05Z';
const link = { name: 'management', connected: true, address: 'https://mesh.test', reason: '', since };
const path = { kind: 'direct', remote: '192.0.2.1:51820', latencyMs: 1.25, since };
const peer = { publicKey: 'k', fqdn: 'web.mesh.test', addresses: ['100.64.0.2'], path, reason: 'direct is faster', receivedBytes: 10, sentBytes: 20 };
const resting = { publicKey: 'r', fqdn: 'idle.mesh.test', addresses: ['100.64.0.3'], state: 'idle', reason: 'no traffic yet' };
const switched = { ...peer, lastSwitch: { at: '2026-11-22T12:00:00.000Z', from: 'relay', to: 'direct', reason: 'direct is faster' } };
const overlay = {
  peers: { direct: 1, relay: 0, seeking: 0, idle: 1 },
  pathSwitches: 3,
  networkChanges: 2,
  lastNetworkChange: { at: '2026-11-22T11:00:00.000Z', what: 'address-lost: eth0 192.0.2.1' },
  relayDroppedPackets: 4,
};
const route = { network: 'office', to: '10.7.0.0/16', router: 'k', routerName: 'web.mesh.test', routers: ['k'] };
const gateway = {
  process: 'gateway',
  version: '1.2.3',
  mesh: {
    publicKey: 'k',
    address: '100.64.0.1',
    fqdn: 'gw.mesh.test',
    serial: '7',
    links: [link],
    peers: [switched, resting],
    overlay,
    routes: [route, { ...route, to: '*.apps.test', router: undefined, routerName: '' }],
  },
  services: [{ id: 's1', domain: 'app.test', mode: 'http', state: 'active', reason: '' }],
};

t.test('all is well: exit code 0, links, peers and services', async (t) => {
  const dir = await stateDir(t, 'gateway', 'agent');
  for (const [name, status] of Object.entries({ gateway, agent: { ...gateway, process: undefined, services: undefined } })) {
    const served = await serveStatus(join(dir, name), () => status);
    t.teardown(() => served?.close());
  }
  const { code, out, err } = await run(['status', '--state-dir', dir]);
  t.same({ code, err }, { code: 0, err: '' });
  t.match(out, /^agent: well\n/);
  t.match(out, /gateway: well\n {2}version: 1\.2\.3\n {2}fqdn: gw\.mesh\.test/);
  t.match(out, /management {2}connected {2}https:\/\/mesh\.test/);
  t.match(out, /web\.mesh\.test +100\.64\.0\.2 +direct +192\.0\.2\.1:51820 +1\.3 ms +10 +20 +2026-11-22T12:00:00\.000Z +direct is faster/);
  t.match(out, /idle\.mesh\.test +100\.64\.0\.3 +idle +- +- +- +- +- +no traffic yet/);
  t.match(out, /paths: 1 direct, 0 relay, 0 seeking, 1 idle; switched 3 times\n/);
  t.match(out, /network: changed 2 times, last at 2026-11-22T11:00:00\.000Z: address-lost: eth0 192\.0\.2\.1\n/);
  t.match(out, /relay: 4 packets dropped\n/);
  t.match(out, /office {3}10\.7\.0\.0\/16 {2}web\.mesh\.test\n {2}office {3}\*\.apps\.test {2}nobody/);
  t.match(out, /app\.test {2}active/);
  const json = await run(['status', '--json'], { env: { MESHGATE_STATE_DIR: dir } });
  t.match(JSON.parse(json.out), [{ process: 'agent' }, { process: 'gateway', problems: [], status: { version: '1.2.3' } }]);
});

t.test('what is not well is said, with exit code 1', async (t) => {
  const dir = await stateDir(t);
  const status = {
    ...gateway,
    links: [{ ...link, name: 'proxy', connected: false, reason: 'refused: token revoked' }],
    services: [
      { id: 's1', domain: 'app.test', state: 'certificate_failed', reason: 'put a certificate into certs/' },
      { id: 's2', domain: 'off.test', state: 'pending', enabled: false },
    ],
    certificates: [{ names: [], source: 'broken.crt', state: 'unusable', reason: 'the key does not fit' }],
    targets: [{ target: '127.0.0.1:80', open: 0, total: 3, reason: 'nothing listens there' }],
    problems: ['the disk is full'],
  };
  const served = await serveStatus(dir, () => status);
  t.teardown(() => served?.close());
  const { code, out } = await run(['status', '--state-dir', dir]);
  t.equal(code, 1);
  t.match(out, /gateway: not well/);
  t.match(out, /! proxy is not connected: refused: token revoked/);
  t.match(out, /! app\.test is certificate_failed: put a certificate into certs\//);
  t.match(out, /! certificate broken\.crt is unusable: the key does not fit/);
  t.match(out, /127\.0\.0\.1:80 +0 +3 +nothing listens there/);
  t.match(out, /! the disk is full/);
  t.notMatch(out, /! off\.test/);
});

t.test('a peer that is away is no fault, a process that is gone is', async (t) => {
  t.same(problemsOf({ peers: [{ ...peer, path: undefined }] }), []);
  const dir = await stateDir(t, 'server');
  const listening = createServer();
  const socket = join(dir, 'server', 'status.sock');
  await new Promise<void>((resolve) => void listening.listen(socket, resolve));
  await new Promise<void>((resolve) => void listening.close(() => resolve()));
  await writeFile(socket, '', { flag: 'w' }); // what a killed process leaves: a path where nobody listens
  const { code, out } = await run(['status', '--state-dir', dir]);
  t.equal(code, 1);
  t.match(out, /server: not well\n {2}! it does/);
});

t.test('nothing runs: one line, exit code 1', async (t) => {
  const dir = join(await stateDir(t), 'none');
  t.same(await run(['status', '--state-dir', dir]), { code: 1, out: '', err: `meshgate: nothing runs from ${dir}` });
});

t.test('a process that answers nonsense is not well', async (t) => {
  const dir = await stateDir(t);
  const server = createServer((connection) => void connection.end('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc'));
  await new Promise<void>((resolve) => void server.listen(join(dir, 'status.sock'), resolve));
  t.teardown(() => void server.close());
  t.match(await run(['status', '--state-dir', dir]), { code: 1, out: /it does not answer: .*not JSON/ });
});

t.test('hostile text in a status cannot drive the terminal', async (t) => {
  const dir = await stateDir(t);
  const served = await serveStatus(dir, () => ({ version: '\u001b]0;owned\u0007', links: [{ ...link, address: '\u001b[2J' }] }));
  t.teardown(() => served?.close());
  const { out } = await run(['status', '--state-dir', dir]);
  t.notMatch(out, /\u001b|\u0007/);
});

t.test('sockets are found in the directory and one level below', async (t) => {
  const dir = t.testdir({ 'b.sock': '', a: { 'status.sock': '', 'other.sock': '' }, c: {}, 'file.txt': '' });
  await mkdir(join(dir, 'c', 'd'));
  t.same(await findSockets(dir), [join(dir, 'a', 'status.sock'), join(dir, 'b.sock')]);
});
