import t from 'tap';
import { asId } from '#model/ids.ts';
import type { Peer, PeerMeta } from '#model/network.ts';
import type { PostureCheck } from '#model/posture.ts';
import { parseVersion, passesCheck } from '../../../src/server/netmap/posture.ts';

function peer(meta: Partial<PeerMeta>, connectionIp = ''): Peer {
  return {
    id: asId('p'),
    publicKey: asId('k'),
    name: 'p',
    dnsLabel: 'p',
    ipv4: '100.64.0.1',
    ipv6: '',
    meta: {
      hostname: '',
      os: 'linux',
      osVersion: '',
      kernel: '6.1.0-20-amd64',
      platform: '',
      version: '0.70.0',
      uiVersion: '',
      ipv6: false,
      ...meta,
    },
    userId: undefined,
    loginExpirationEnabled: false,
    loginExpired: false,
    ephemeral: false,
    proxyCluster: undefined,
    connected: true,
    connectionIp,
    lastSeen: 0,
    lastLogin: 0,
    createdAt: 0,
  };
}

type Parts = Omit<PostureCheck, 'id' | 'name' | 'description'>;
const passes = (subject: Peer, parts: Parts): boolean => passesCheck(subject, { id: asId('c'), name: 'c', description: '', ...parts });

t.test('versions are numbers with dots; what follows a dash is a name', async (t) => {
  for (const [text, parsed] of [
    ['1.2.3', [1, 2, 3]],
    ['v0.70.0-rc.1', [0, 70, 0]],
    ['6.1.0-20-amd64', [6, 1, 0]],
    [' 14 ', [14]],
    ['10.0.22631.3447', [10, 0, 22_631, 3447]],
    ['development', undefined],
    ['ci-abc', undefined],
    ['', undefined],
    ['1..2', undefined],
    ['1.2.', undefined],
    ['9'.repeat(40), undefined],
  ] as const) {
    t.same(parseVersion(text), parsed, text);
  }
});

t.test('the version of the client', async (t) => {
  for (const [version, minVersion, expected] of [
    ['0.70.0', '0.70.0', true],
    ['0.70', '0.70.0', true],
    ['0.70.1', '0.70', true],
    ['0.9.0', '0.70.0', false],
    ['0.69.9-dev', '0.70.0', false],
    ['1.0.0', '0.70.0', true],
    ['development', '0.1', false],
    ['', '0.1', false],
  ] as const) {
    t.equal(passes(peer({ version }), { minVersion }), expected, `${version} for ${minVersion}`);
  }
});

t.test('the system: the kernel on Linux and Windows, the version elsewhere; one that is left out does not pass', async (t) => {
  const systems = { linux: '6.1', darwin: '14.2', windows: '10.0.1000' };
  t.equal(passes(peer({}), { systems }), true);
  t.equal(passes(peer({ kernel: '5.15.0' }), { systems }), false);
  t.equal(passes(peer({ os: 'darwin', osVersion: '14.2.1' }), { systems }), true);
  t.equal(passes(peer({ os: 'darwin', osVersion: '13.9' }), { systems }), false);
  t.equal(passes(peer({ os: 'windows', kernel: '10.0.22631' }), { systems }), true);
  t.equal(passes(peer({ os: 'android', osVersion: '14' }), { systems }), false);
  t.equal(passes(peer({ os: 'freebsd' }), { systems }), true);
});

t.test('networks: a range has to hold the whole of one of them, or the address it comes from', async (t) => {
  const office = peer({ posture: { networks: ['10.1.2.3/24', 'fd00::5/64'], running: [] } }, '192.0.2.7');
  const networks = (action: 'allow' | 'deny', ...ranges: readonly string[]): Parts => ({ networks: { action, ranges } });
  t.equal(passes(office, networks('allow', '10.1.0.0/16')), true);
  t.equal(passes(office, networks('allow', '10.1.2.0/24')), true);
  t.equal(passes(office, networks('allow', '10.1.2.3/32')), false, 'one host is not the network');
  t.equal(passes(office, networks('allow', '192.0.2.0/24')), true);
  t.equal(passes(office, networks('allow', 'fd00::/48')), true);
  t.equal(passes(office, networks('deny', '10.0.0.0/8')), false);
  t.equal(passes(office, networks('deny', '10.9.0.0/16')), true);
  t.equal(passes(peer({}, '::ffff:192.0.2.7'), networks('allow', '192.0.2.7/32')), true);
  for (const action of ['allow', 'deny'] as const) t.equal(passes(peer({}), networks(action, '0.0.0.0/0')), false, 'nothing is known of it');
});

t.test('programs: all of them run, by the paths of the own system', async (t) => {
  const processes = [{ linux: '/usr/bin/a', mac: '/a', windows: 'C:\\a.exe' }, { linux: '/usr/bin/b' }];
  const running = (os: string, ...paths: readonly string[]): Peer => peer({ os, posture: { networks: [], running: paths } });
  t.equal(passes(running('linux', '/usr/bin/a', '/usr/bin/b'), { processes }), true);
  t.equal(passes(running('linux', '/usr/bin/a'), { processes }), false);
  t.equal(passes(running('darwin', '/a', '/usr/bin/b'), { processes }), false, 'no path, no pass');
  t.equal(passes(running('darwin', '/a'), { processes: processes.slice(0, 1) }), true);
  t.equal(passes(running('android', '/usr/bin/a'), { processes: processes.slice(0, 1) }), false);
  t.equal(passes(peer({}), { processes }), false);
});

t.test('every part that is there counts', async (t) => {
  t.equal(passes(peer({}), { minVersion: '0.70', systems: { linux: '6' } }), true);
  t.equal(passes(peer({}), { minVersion: '0.71', systems: { linux: '6' } }), false);
  t.equal(passes(peer({}), { minVersion: '0.70', systems: { linux: '7' } }), false);
});
