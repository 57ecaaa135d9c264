// The state of a service names the one thing that is missing, in the order of a request's way.
import t from 'tap';
import { asId, type PublicKey } from '#model/ids.ts';
import type { MeshStatus, PeerPathStatus } from '#model/status.ts';
import { serviceState, type Surroundings } from '../../src/gateway/report/service-state.ts';
import { mapping } from './mappings.ts';
import { plainAccess } from '#model/access.ts';

const peer: PeerPathStatus = {
  publicKey: asId<PublicKey>('key'),
  fqdn: 'office.mesh.internal',
  addresses: ['100.64.0.9'],
  state: 'connected',
  path: { kind: 'direct', remote: '192.0.2.1:1', latencyMs: 1, since: '' },
  reason: '',
  lastSwitch: undefined,
  switches: 0,
  lastHandshake: undefined,
  receivedBytes: 0,
  sentBytes: 0,
};
const overlay: MeshStatus['overlay'] = {
  mode: 'userspace',
  port: 1,
  accelerators: { udp: 'dgram (a test)', cipher: 'none' },
  peers: { direct: 1, relay: 0, seeking: 0, idle: 0 },
  pathSwitches: 0,
  networkChanges: 0,
  lastNetworkChange: undefined,
  foreignRelays: [],
  relayDroppedPackets: 0,
};
const mesh: MeshStatus = {
  publicKey: asId<PublicKey>('own'),
  address: '100.64.0.1',
  fqdn: 'gw',
  serial: '1',
  links: [],
  peers: [peer],
  routes: [],
  overlay,
  pathReports: { state: 'waiting', at: undefined, reason: '' },
};
const well: Surroundings = {
  certificate: () => true,
  automatic: () => undefined,
  certificateProblem: () => '',
  portProblem: () => '',
  nameTaken: () => false,
  leftOut: () => '',
  publicPort: 443,
  mesh,
  geo: { problem: (of) => `no data base of ${of}` },
  reputation: { problem: () => 'CrowdSec is away' },
};

void t.test('active where nothing is missing', async (t) => {
  t.same(serviceState(mapping('a'), well), { state: 'active', reason: '' });
});

void t.test('a switched-off check of an https target shows while the service is served', async (t) => {
  const [path] = mapping('a').paths;
  if (path === undefined) return t.fail('no path');
  const lax = (protocol: 'http' | 'https') => ({
    ...path,
    targets: path.targets.map((target) => ({ ...target, protocol })),
    options: { ...path.options, skipTlsVerify: true },
  });
  t.match(serviceState(mapping('a', { paths: [lax('https')] }), well), { state: 'active', reason: /^warning: the certificate of 100\.64\.0\.9:80 / });
  return t.same(serviceState(mapping('a', { paths: [lax('http')] }), well), { state: 'active', reason: '' });
});

void t.test('what is missing is named', async (t) => {
  const { path: _path, ...away } = peer;
  for (const [change, around, state, reason] of [
    [{ mode: 'tcp', access: plainAccess }, well, 'error', /no port/],
    [
      { mode: 'tcp', listenPort: 7, access: { ...plainAccess, proofs: [['oidc', 'certificate']] } },
      well,
      'error',
      /sign-in by certificate is not supported/,
    ],
    [{ mode: 'tcp', listenPort: 7 }, { ...well, certificate: () => false }, 'certificate_pending', /no certificate/],
    [{ mode: 'tls', listenPort: 443 }, well, 'error', /Give it another port/],
    [{ mode: 'tcp', listenPort: 7 }, { ...well, portProblem: () => 'in use' }, 'error', /in use/],
    [{ access: { ...plainAccess, proofs: [['certificate']] } }, well, 'error', /certificate/],
    [{ paths: [] }, well, 'error', /no enabled target/],
    [{}, { ...well, certificate: () => false }, 'certificate_pending', /no certificate for a\.example\.com/],
    [{}, { ...well, certificate: () => false, certificateProblem: () => 'expired' }, 'certificate_pending', /expired/],
    [{}, { ...well, mesh: undefined }, 'tunnel_not_created', /has not joined/],
    [{}, { ...well, mesh: { ...mesh, peers: [] } }, 'tunnel_not_created', /no peer that this gateway may see/],
    [
      {},
      { ...well, mesh: { ...mesh, peers: [{ ...away, state: 'seeking', path: undefined, reason: 'the relay was lost' }] } },
      'tunnel_not_created',
      /office.*the relay was lost/,
    ],
  ] as const) {
    t.match(serviceState(mapping('a', change), around), { state, reason });
  }
});

void t.test('targets of the gateway’s own network need no mesh', async (t) => {
  const [path] = mapping('a').paths;
  if (path === undefined) return t.fail('no path');
  const direct = mapping('a', { paths: [{ ...path, options: { ...path.options, directUpstream: true } }] });
  return t.same(serviceState(direct, { ...well, mesh: undefined }), { state: 'active', reason: '' });
});

void t.test('targets behind a peer are as reachable as the peer that leads there', async (t) => {
  const router = { ...peer, publicKey: asId<PublicKey>('router'), fqdn: 'router.mesh.internal', addresses: ['100.64.0.10'] };
  const { path: _path, ...lost } = { ...router, state: 'seeking', reason: 'the relay was lost' } as const;
  const route = (to: string, by = 'router') => ({ network: 'office', to, router: asId<PublicKey>(by), routerName: '', routers: [] });
  const [path] = mapping('a').paths;
  if (path === undefined) throw new TypeError('no path');
  const stateOf = (host: string, routes: MeshStatus['routes'], peers: MeshStatus['peers']) =>
    serviceState(mapping('a', { paths: [{ ...path, targets: path.targets.map((target) => ({ ...target, host })) }] }), {
      ...well,
      mesh: { ...mesh, routes, peers },
    });
  const good = { state: 'active', reason: '' };
  t.same(stateOf('10.7.0.1', [route('10.7.0.0/16')], [router]), good);
  t.same(stateOf('10.7.0.1', [route('10.0.0.0/8', 'other'), route('10.7.0.0/16')], [router]), good, 'the longest prefix counts');
  t.same(stateOf('x.apps.test', [route('a.test *.apps.test')], [router]), good);
  t.same(stateOf('some.name.test', [], [router]), good, 'a name that a name server may know');
  t.match(stateOf('10.8.0.1', [route('10.7.0.0/16')], [router]), { state: 'tunnel_not_created', reason: /in no network/ });
  t.match(stateOf('10.7.0.1', [route('10.7.0.0/16', 'gone')], [router]), { state: 'tunnel_not_created', reason: /no peer that leads to office/ });
  t.match(stateOf('10.7.0.1', [route('10.7.0.0/16')], [{ ...lost, path: undefined }]), {
    state: 'tunnel_not_created',
    reason: /router.*the relay was lost/,
  });
});

void t.test('of several targets one is enough, and the reason counts them', async (t) => {
  const [path] = mapping('a').paths;
  if (path === undefined) return t.fail('no path');
  const [target] = path.targets;
  if (target === undefined) return t.fail('no target');
  const three = mapping('a', { paths: [{ ...path, targets: [target, { ...target, port: 81 }, { ...target, host: '100.64.0.10' }] }] });
  const leftOut = (...ports: readonly number[]) => ({
    ...well,
    leftOut: (_host: string, port: number) => (ports.includes(port) ? 'the check got status 500' : ''),
  });
  t.match(serviceState(three, well), { state: 'active', reason: /^2 of 3 targets healthy: 100\.64\.0\.10:80: 100\.64\.0\.10 is no peer/ });
  t.match(serviceState(three, leftOut(81)), { state: 'active', reason: '1 of 3 targets healthy: 100.64.0.9:81: the check got status 500' });
  t.match(serviceState(three, leftOut(80, 81)), {
    state: 'tunnel_not_created',
    reason: /^0 of 3 targets healthy: 100\.64\.0\.9:80: the check got status 500$/,
  });
  return t.match(serviceState(mapping('a'), leftOut(80)), {
    state: 'error',
    reason: '0 of 1 targets healthy: 100.64.0.9:80: the check got status 500',
  });
});
