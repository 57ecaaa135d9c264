import t from 'tap';
import { asId, type PeerId } from '#model/ids.ts';
import { noRestrictions } from '#model/service.ts';
import { abandonedMs, customHeadersPerTarget, oneTimeTokenMs, proxyForgottenMs, targetsPerService } from '../../../src/server/domain/constants.ts';
import type { ServiceInput } from '../../../src/server/domain/contract.ts';
import { OneTimeTokens } from '../../../src/server/domain/one-time-tokens.ts';
import { addCluster, addPeer, keyOf, ManualClock, openDomain, seeded, serviceOf, system, targetOf, type Fixture } from './support.ts';

interface Ready extends Fixture {
  readonly peerId: PeerId;
}

async function ready(): Promise<Ready> {
  const fixture = await openDomain();
  await addCluster(fixture.domain);
  const peerId = (await fixture.domain.peers.self(await addPeer(fixture.domain, 'web'))).peer.id;
  fixture.changes.length = 0;
  return { ...fixture, peerId };
}

t.test('a service is published, edited and taken away', async (t) => {
  const { domain, changes, peerId } = await ready();
  const created = await domain.services.create(serviceOf(peerId, { domain: 'App.Proxy.TEST.' }), system);
  t.match(created, { domain: 'app.proxy.test', cluster: 'proxy.test', status: { state: 'pending' }, listenPort: undefined });
  t.match(created.targets[0]?.host, /^100\./, 'the host of a peer target is the address of the peer');
  t.match(changes, [{ kind: 'service-set', serviceId: created.id, cluster: 'proxy.test' }, { kind: 'network' }]);
  t.same(await domain.services.get(created.id), created);
  t.same(await domain.services.list(), [created]);

  const mapping = await domain.services.mapping(created.id, 'proxy.test');
  t.match(mapping, { id: created.id, domain: 'app.proxy.test', access: { proofs: [['oidc'], ['token']] }, paths: [{ path: '/' }] });
  t.equal(mapping?.paths[0]?.targets[0]?.host, created.targets[0]?.host);
  t.equal((await domain.services.mappings('proxy.test')).length, 1);
  t.equal((await domain.services.mappings('other.test')).length, 0);

  changes.length = 0;
  await domain.services.delete(created.id, system);
  t.match(changes, [{ kind: 'revocation' }, { kind: 'service-removed', cluster: 'proxy.test' }, { kind: 'network' }]);
  t.equal(await domain.services.mapping(created.id, 'proxy.test'), undefined);
  await t.rejects(domain.services.get(created.id), { code: 'DOMAIN_SERVICE_UNKNOWN' });
  await domain.close();
});

t.test('a disabled service is never sent, whichever way it came to be disabled', async (t) => {
  const { domain, changes, peerId } = await ready();
  const input = serviceOf(peerId, { enabled: false });
  const { id } = await domain.services.create(input, system);
  await domain.services.update(id, { ...input, name: 'still off' }, system);
  t.same(
    changes.filter((change) => change.kind.startsWith('service')),
    [],
  );
  t.equal(await domain.services.mapping(id, 'proxy.test'), undefined);
  t.same(await domain.services.mappings('proxy.test'), []);
  await domain.services.update(id, { ...input, enabled: true }, system);
  t.match(changes, [{ kind: 'service-set' }, { kind: 'network' }]);
  changes.length = 0;
  await domain.services.update(id, input, system);
  t.match(changes, [{ kind: 'service-removed' }, { kind: 'network' }]);
  t.equal(await domain.services.mapping(id, 'proxy.test'), undefined);
  t.match(await domain.services.get(id), { status: { state: 'pending', reason: /off/ } });
  await domain.close();
});

t.test('the domain decides the cluster', async (t) => {
  const { domain, peerId } = await ready();
  await addCluster(domain, 'eu.proxy.test', 'gateway-2');
  const make = async (name: string): Promise<string> => (await domain.services.create(serviceOf(peerId, { domain: name }), system)).cluster;
  t.equal(await make('proxy.test'), 'proxy.test');
  t.equal(await make('a.eu.proxy.test'), 'eu.proxy.test', 'the longest one');
  for (const name of ['proxy.test.evil.example', 'xproxy.test', 'example.com']) {
    await t.rejects(make(name), { code: 'DOMAIN_SERVICE_CLUSTER_UNKNOWN' }, name);
  }
  await t.rejects(make('PROXY.test'), { code: 'DOMAIN_SERVICE_DOMAIN_TAKEN' });
  await domain.clusters.createDomain('example.com', 'proxy.test', system);
  await t.rejects(make('app.example.com'), { code: 'DOMAIN_SERVICE_DOMAIN_NOT_VALIDATED' });
  await domain.close();
});

t.test('the mode stays; a rotated secret, another domain or other groups end the sessions, a new name does not', async (t) => {
  const { domain, changes, peerId } = await ready();
  const group = await domain.groups.create({ name: 'staff', peers: [] }, system);
  const input = serviceOf(peerId);
  const { id } = await domain.services.create(input, system);
  const revoked = async (next: ServiceInput): Promise<boolean> => {
    changes.length = 0;
    await domain.services.update(id, next, system);
    return changes.some((change) => change.kind === 'revocation' && change.revocation.kind === 'service' && change.revocation.serviceId === id);
  };
  t.equal(await revoked({ ...input, name: 'new name', targets: [targetOf(peerId, { port: 9090 })] }), false);
  t.equal(await revoked({ ...input, auth: { ...input.auth, oidc: { enabled: true, groups: [group.id] } } }), true);
  await t.rejects(domain.groups.delete(group.id, system), { code: 'DOMAIN_GROUP_IN_USE', message: /service "app"/ });
  t.equal(await revoked({ ...input, domain: 'other.proxy.test' }), true);
  const withPin = { ...input, domain: 'other.proxy.test', auth: { ...input.auth, pin: { enabled: true, pin: '123456' } } };
  t.equal(await revoked(withPin), true);
  t.match(await domain.services.mapping(id, 'proxy.test'), { access: { proofs: [['oidc'], ['token'], ['pin']] } });
  t.equal(await revoked({ ...withPin, auth: { ...withPin.auth, pin: { enabled: true, pin: undefined } } }), false, 'left out: kept');
  t.equal(await revoked({ ...withPin, auth: { ...withPin.auth, pin: { enabled: true, pin: '654321' } } }), true);
  await t.rejects(domain.services.update(id, { ...withPin, mode: 'tcp' }, system), { code: 'DOMAIN_INVALID' });
  const plain = { ...input, mode: 'tcp', targets: [targetOf(peerId, { protocol: 'tcp' })] } as const;
  await t.rejects(domain.services.update(id, plain, system), { code: 'DOMAIN_SERVICE_MODE_FIXED' });
  const missing = { ...input, auth: { ...input.auth, password: { enabled: true, password: undefined } } };
  await t.rejects(domain.services.update(id, missing, system), { code: 'DOMAIN_INVALID', message: /password is missing/ });
  await domain.close();
});

t.test('what is not valid is refused, with the reason', async (t) => {
  const { domain, peerId } = await ready();
  const target = (more: Parameters<typeof targetOf>[1]): Partial<ServiceInput> => ({ targets: [targetOf(peerId, more)] });
  const options = (more: Partial<ServiceInput['targets'][number]['options']>): Partial<ServiceInput> =>
    target({ options: { ...targetOf(peerId).options, ...more } });
  const restrict = (more: Partial<ServiceInput['restrictions']>): Partial<ServiceInput> => ({ restrictions: { ...noRestrictions, ...more } });
  const auth = (more: Partial<ServiceInput['auth']>): Partial<ServiceInput> => ({ auth: { ...serviceOf(peerId).auth, ...more } });
  const many = Array.from({ length: customHeadersPerTarget + 1 }, (_, index) => [`X-${index}`, 'v'] as const);
  const refused: readonly (readonly [string, Partial<ServiceInput>, RegExp])[] = [
    ['no name', { name: ' ' }, /name/],
    ['not a host name', { domain: 'a b.proxy.test' }, /host name/],
    ['a wildcard of several labels', { domain: '*.*.proxy.test' }, /host name/],
    ['an http service with a port', { listenPort: 80 }, /listen port/],
    ['no target', { targets: [] }, /needs a target/],
    ['a path of the gateway itself', target({ path: '/.meshgate/x' }), /own/],
    ['a pattern that is none', options({ pathRewrite: { kind: 'regex', pattern: '(', replacement: '/' } }), /missing closing/],
    ['a back-reference', options({ pathRewrite: { kind: 'regex', pattern: '/(.)\\1', replacement: '/' } }), /escape/],
    ['a header in another spelling', options({ customHeaders: { x_meshgate_user: 'x' } }), /set by the gateway/],
    ['too many targets', { targets: Array.from({ length: targetsPerService + 1 }, (_, i) => targetOf(peerId, { path: `/${i}` })) }, /at most/],
    ['one target twice', { targets: [targetOf(peerId, { path: '/a' }), targetOf(peerId, { path: '/a/' })] }, /there twice/],
    [
      'targets of one path that differ',
      { targets: [targetOf(peerId), targetOf(peerId, { port: 81, options: { ...targetOf('').options, skipTlsVerify: true } })] },
      /must be the same/,
    ],
    ['port 0', target({ port: 0 }), /port/],
    ['port 65536', target({ port: 65_536 }), /port/],
    ['tcp under http', target({ protocol: 'tcp' }), /speaks/],
    ['a relative path', target({ path: 'x' }), /path/],
    ['dots', target({ path: '/a/../b' }), /path/],
    ['an encoded slash', target({ path: '/a%2fb' }), /path/],
    ['a query', target({ path: '/a?b' }), /path/],
    ['an empty segment', target({ path: '//a' }), /path/],
    ['a reserved header', options({ customHeaders: { 'X-Forwarded-For': 'x' } }), /set by the gateway/],
    ['host', options({ customHeaders: { hOsT: 'x' } }), /set by the gateway/],
    ['a line break', options({ customHeaders: { 'X-A': 'a\r\nB: c' } }), /line break/],
    ['one header twice', options({ customHeaders: { 'X-A': '1', 'x-a': '2' } }), /twice/],
    ['too many headers', options({ customHeaders: Object.fromEntries(many) }), /at most/],
    ['PROXY protocol over HTTP/2', options({ proxyProtocol: true, httpVersion: 'h2' }), /PROXY/],
    ['a timeout of 0', options({ requestTimeoutMs: 0 }), /timeout/],
    ['a peer dialled directly', options({ directUpstream: true }), /overlay/],
    ['cluster without direct upstream', target({ targetType: 'cluster', targetId: 'proxy.test', host: 'x' }), /direct upstream/],
    ['host bits', restrict({ allowedCidrs: ['192.0.2.1/24'] }), /192\.0\.2\.0\/24/],
    ['not a network', restrict({ blockedCidrs: ['x'] }), /network/],
    ['too many networks', restrict({ blockedCidrs: Array.from({ length: 201 }, () => '192.0.2.0/24') }), /at most/],
    ['not a country', restrict({ allowedCountries: ['DEU'] }), /country/],
    ['a PIN with letters', auth({ pin: { enabled: true, pin: '12345x' } }), /PIN/],
    ['no password', auth({ password: { enabled: true, password: undefined } }), /missing/],
    ['not a header name', auth({ headers: [{ enabled: true, header: 'a b', value: 'x' }] }), /header/],
    ['private with sign-in', { private: true, accessGroups: [asId('g')] }, /sign-in/],
    ['private for nobody', { private: true, ...auth({ oidc: { enabled: false, groups: [] } }) }, /access group/],
    ['tls without a port', { mode: 'tls', targets: [targetOf(peerId, { protocol: 'tcp' })] }, /listen port/],
    ['one tcp target twice', { mode: 'tcp', targets: [targetOf(peerId, { protocol: 'tcp' }), targetOf(peerId, { protocol: 'tcp' })] }, /there twice/],
    ['tcp with a path', { mode: 'tcp', ...target({ protocol: 'tcp', path: '/x' }) }, /path/],
    [
      'udp with version 1 of the PROXY protocol',
      {
        mode: 'udp',
        targets: [targetOf(peerId, { protocol: 'udp', options: { ...targetOf('').options, proxyProtocol: true, proxyProtocolVersion: 1 } })],
      },
      /UDP/,
    ],
    ['tcp with a PIN', { mode: 'tcp', ...target({ protocol: 'tcp' }), ...auth({ pin: { enabled: true, pin: '123456' } }) }, /PIN/],
  ];
  for (const [name, more, message] of refused) {
    await t.rejects(domain.services.create(serviceOf(peerId, more), system), { code: 'DOMAIN_INVALID', message }, name);
  }
  for (const targetType of ['host', 'subnet', 'domain'] as const) {
    const request = serviceOf(peerId, target({ targetType }));
    await t.rejects(domain.services.create(request, system), { code: 'DOMAIN_SERVICE_TARGET_UNKNOWN' }, targetType);
  }
  await t.rejects(domain.services.create(serviceOf('nobody'), system), { code: 'DOMAIN_SERVICE_TARGET_UNKNOWN' });
  const strangers = auth({ oidc: { enabled: true, groups: [asId('gone')] } });
  await t.rejects(domain.services.create(serviceOf(peerId, strangers), system), { code: 'DOMAIN_GROUP_UNKNOWN' });
  t.same(await domain.services.list(), []);
  await domain.close();
});

t.test('a cluster target is dialled by the gateway itself', async (t) => {
  const { domain } = await ready();
  const direct = { ...targetOf('').options, directUpstream: true };
  const request = serviceOf('', { targets: [targetOf('', { targetType: 'cluster', host: 'Backend.LAN', options: direct })] });
  const { id, targets } = await domain.services.create(request, system);
  t.match(targets, [{ targetId: 'proxy.test', host: 'backend.lan' }]);
  t.match(await domain.services.mapping(id, 'proxy.test'), {
    paths: [{ targets: [{ host: 'backend.lan', port: 8080 }], options: { directUpstream: true } }],
  });
  await domain.close();
});

t.test('ports: chosen, kept, and one service each', async (t) => {
  const { domain, peerId } = await ready();
  let count = 0;
  const make = async (
    mode: 'tcp' | 'udp' | 'tls',
    listenPort?: number,
  ): Promise<{ id: string; listenPort: number | undefined; portAutoAssigned: boolean }> => {
    const targets = [targetOf(peerId, { protocol: mode === 'udp' ? 'udp' : 'tcp' })];
    return await domain.services.create(serviceOf(peerId, { name: 's', domain: `s${++count}.proxy.test`, mode, listenPort, targets }), system);
  };
  const auto = await make('tcp');
  t.equal(auto.portAutoAssigned, true);
  t.ok((auto.listenPort ?? 0) >= 10_000 && (auto.listenPort ?? 0) <= 49_151);
  await t.rejects(make('tcp', auto.listenPort), { code: 'DOMAIN_SERVICE_PORT_TAKEN' });
  t.match(await make('udp', auto.listenPort), { listenPort: auto.listenPort, portAutoAssigned: false });
  t.match(await make('tls', auto.listenPort), { listenPort: auto.listenPort }, 'tcp and tls share a port on purpose');
  t.match(await make('tls', auto.listenPort), { listenPort: auto.listenPort }, 'tls services are told apart by name');
  const input = serviceOf(peerId, { domain: 's1.proxy.test', mode: 'tcp', targets: [targetOf(peerId, { protocol: 'tcp' })] });
  const updated = await domain.services.update(asId(auto.id), input, system);
  t.match(updated, { listenPort: auto.listenPort, portAutoAssigned: true });
  await domain.close();
});

t.test('gateways reach targets, and nothing else, by derived policies', async (t) => {
  const { domain, peerId } = await ready();
  const input = serviceOf(peerId);
  const { id } = await domain.services.create(input, system);
  const token = (await domain.services.mapping(id, 'proxy.test'))?.authToken ?? '';
  const register = { oneTimeToken: token, serviceId: id, publicKey: keyOf('gw'), cluster: 'proxy.test', proxyId: asId<never>('gateway-1') };
  const self = await domain.peers.registerProxyPeer(register);
  t.match(self.peer, { proxyCluster: 'proxy.test', ephemeral: true });
  const gatewayIp = self.peer.ipv4;
  const web = await domain.maps.build(keyOf('web'));
  t.match(web.peers, [{ publicKey: keyOf('gw') }]);
  t.match(web.filter, { kind: 'rules', rules: { length: 1, 0: { protocol: 'tcp', ports: { start: 8080, end: 8080 } } } });
  t.match((await domain.maps.build(keyOf('gw'))).peers, [{ publicKey: keyOf('web') }]);
  t.same((await domain.groups.list()).find((group) => group.system)?.peers, [peerId], 'a gateway is not in All');
  await t.rejects(domain.services.create(serviceOf(self.peer.id, { domain: 'x.proxy.test' }), system), { code: 'DOMAIN_SERVICE_TARGET_UNKNOWN' });

  await domain.services.update(id, { ...input, targets: [targetOf(peerId, { enabled: false }), targetOf(peerId, { path: '/b', port: 81 })] }, system);
  t.match((await domain.maps.build(keyOf('web'))).filter, { rules: { length: 1, 0: { ports: { start: 81, end: 81 } } } });
  t.match(await domain.services.mapping(id, 'proxy.test'), { paths: { length: 1, 0: { path: '/b' } } });
  await domain.services.update(id, { ...input, enabled: false }, system);
  t.same((await domain.maps.build(keyOf('web'))).peers, []);
  t.same((await domain.maps.build(keyOf('gw'))).peers, []);
  t.ok(gatewayIp);
  await domain.close();
});

t.test('a gateway registers with a fresh token of that service, once; its key makes it idempotent', async (t) => {
  const { domain, clock, peerId } = await ready();
  const { id } = await domain.services.create(serviceOf(peerId), system);
  const other = await domain.services.create(serviceOf(peerId, { domain: 'b.proxy.test' }), system);
  const issue = async (): Promise<string> => (await domain.services.mapping(id, 'proxy.test'))?.authToken ?? '';
  const register = (oneTimeToken: string, more: { cluster?: string; serviceId?: typeof id; key?: string } = {}): Promise<unknown> =>
    domain.peers.registerProxyPeer({
      oneTimeToken,
      serviceId: more.serviceId ?? id,
      publicKey: keyOf(more.key ?? 'gw'),
      cluster: more.cluster ?? 'proxy.test',
      proxyId: asId('gateway-1'),
    });
  const refused = { code: 'DOMAIN_PROXY_TOKEN_INVALID' };
  const token = await issue();
  t.equal(Buffer.from(token, 'base64url').length, 32);
  await t.rejects(register(token, { serviceId: other.id }), refused);
  await register(token, { cluster: 'Proxy.TEST.' });
  await t.rejects(register(token), refused, 'used');
  await register(await issue());
  t.equal((await domain.peers.list()).length, 2, 'the same key is the same peer');
  await t.rejects(register(await issue(), { cluster: 'elsewhere.test' }), refused);
  await t.rejects(register(await issue(), { key: 'web' }), { code: 'DOMAIN_PEER_KEY_TAKEN' });
  const late = await issue();
  clock.advance(oneTimeTokenMs);
  await t.rejects(register(late), refused, 'expired');
  clock.advance(abandonedMs);
  await domain.peers.reapAbandoned();
  t.equal((await domain.peers.list()).length, 1, 'a gateway that stays away is removed');
  await domain.close();
});

t.test('one-time tokens are bounded: the oldest goes', async (t) => {
  const clock = new ManualClock();
  const tokens = new OneTimeTokens(clock, seeded('tokens'), 3);
  const issued = ['a', 'b', 'c', 'd'].map((name) => ({ name, token: tokens.issue(asId(name)) }));
  t.equal(tokens.size, 3);
  t.same(
    issued.map(({ name, token }) => tokens.redeem(token, asId(name))),
    [false, true, true, true],
  );
});

t.test('a peer that leaves takes its paths with it', async (t) => {
  const { domain, changes, peerId } = await ready();
  const { id } = await domain.services.create(serviceOf(peerId), system);
  changes.length = 0;
  await domain.peers.delete(peerId, system);
  t.match(changes.at(-1), { kind: 'service-set', serviceId: id });
  t.equal(await domain.services.mapping(id, 'proxy.test'), undefined);
  await domain.close();
});

t.test('the status is the worst that a gateway says; the first certificate is stamped', async (t) => {
  const { domain, clock, peerId } = await ready();
  const { id } = await domain.services.create(serviceOf(peerId), system);
  const report = async (proxyId: string, state: 'active' | 'certificate_pending', certificateIssued = false): Promise<void> => {
    await domain.services.reportStatus({
      serviceId: id,
      cluster: 'proxy.test',
      proxyId: asId(proxyId),
      status: { state, reason: '' },
      certificateIssued,
    });
  };
  await report('gateway-1', 'active', true);
  const issuedAt = clock.wall();
  clock.advance(1_000);
  await report('gateway-1', 'active', true);
  await report('gateway-2', 'certificate_pending');
  t.match(await domain.services.get(id), { status: { state: 'certificate_pending' }, certificateIssuedAt: issuedAt });
  await domain.clusters.proxyDisconnected(asId('gateway-2'));
  t.match(await domain.services.get(id), { status: { state: 'active' } });
  await report('gateway-1', 'active');
  clock.advance(proxyForgottenMs - 1_000);
  await domain.peers.reapAbandoned();
  t.match(await domain.services.get(id), { status: { state: 'active' } });
  clock.advance(1_000);
  await domain.peers.reapAbandoned();
  t.match(await domain.services.get(id), { status: { state: 'pending' } }, 'what a gateway said is forgotten with it');
  await domain.services.reportStatus({
    serviceId: asId('gone'),
    cluster: 'proxy.test',
    proxyId: asId('x'),
    status: { state: 'active', reason: '' },
    certificateIssued: false,
  });
  await domain.close();
});

t.test('each service has a session key of its own, which is stored encrypted', async (t) => {
  const { domain, peerId } = await ready();
  const [a, b] = [
    await domain.services.create(serviceOf(peerId), system),
    await domain.services.create(serviceOf(peerId, { domain: 'b.proxy.test' }), system),
  ];
  const [first, second] = [await domain.services.sessionKey(a.id), await domain.services.sessionKey(b.id)];
  t.equal(first.privateKey.length, 32);
  t.equal(first.publicKey.length, 32);
  t.notSame(first, second);
  await domain.close();
});

t.test('targets in networks: their hosts follow from the resource, or have to be in it', async (t) => {
  const { domain, changes } = await openDomain();
  await addCluster(domain);
  const { id: network } = await domain.networks.create({ name: 'n', description: '' }, system);
  const resource = async (address: string) =>
    await domain.resources.create(network, { name: address, description: '', address, enabled: true, groups: [] }, system);
  const [host, lan, name, wild] = [
    await resource('10.0.0.9'),
    await resource('10.0.1.0/24'),
    await resource('web.test'),
    await resource('*.corp.test'),
  ];
  const input = (id: string, targetType: 'host' | 'subnet' | 'domain', more: string): ReturnType<typeof serviceOf> =>
    serviceOf('', { targets: [targetOf(id, { targetType, host: more })] });
  const service = await domain.services.create(input(host.id, 'host', 'ignored.test'), system);
  t.equal(service.targets[0]?.host, '10.0.0.9');
  const hostOf = async (...args: Parameters<typeof input>): Promise<unknown> => {
    await domain.services.update(service.id, input(...args), system);
    return (await domain.services.mapping(service.id, 'proxy.test'))?.paths[0]?.targets[0]?.host;
  };
  t.equal(await hostOf(lan.id, 'subnet', '10.0.1.7'), '10.0.1.7');
  t.equal(await hostOf(name.id, 'domain', ''), 'web.test');
  t.equal(await hostOf(wild.id, 'domain', 'Git.Corp.Test'), 'git.corp.test');
  for (const [id, type, text] of [
    [lan.id, 'subnet', '10.0.2.7'],
    [lan.id, 'subnet', ''],
    [lan.id, 'subnet', 'web.test'],
    [wild.id, 'domain', 'corp.test'],
    [wild.id, 'domain', ''],
  ] as const) {
    await t.rejects(hostOf(id, type, text), { code: 'DOMAIN_INVALID', message: /host that is in/ }, `${type} ${text}`);
  }
  await t.rejects(hostOf(lan.id, 'host', '10.0.1.7'), { code: 'DOMAIN_SERVICE_TARGET_UNKNOWN' }, 'of another type');
  await t.rejects(domain.resources.delete(network, wild.id, system), { code: 'DOMAIN_RESOURCE_IN_USE', message: /service "app"/ });
  changes.length = 0;
  await domain.resources.update(network, wild.id, { ...wild, enabled: false }, system);
  t.match(
    changes.filter(({ kind }) => kind === 'service-set'),
    [{ serviceId: service.id }],
    'gateways hear of it',
  );
  t.equal(await domain.services.mapping(service.id, 'proxy.test'), undefined, 'a target that is switched off is none');
  await domain.close();
});
