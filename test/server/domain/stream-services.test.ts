// TCP, TLS and UDP services at the control plane: their ports and names, who may share a domain, and what is refused.
import t from 'tap';
import type { PeerId } from '#model/ids.ts';
import { portsPerService, defaultStream, type StreamOptions } from '#model/stream.ts';
import type { ServiceInput } from '../../../src/server/domain/contract.ts';
import { createTestCa } from '../../support/test-ca.ts';
import { addCluster, addPeer, keyOf, openDomain, serviceOf, system, targetOf, type Fixture } from './support.ts';

const noSignIn = { oidc: { enabled: false, groups: [] }, password: undefined, pin: undefined, headers: [] } as const;

interface Ready extends Fixture {
  readonly peerId: PeerId;
  service(mode: 'tcp' | 'udp' | 'tls', stream?: Partial<StreamOptions>, more?: Partial<ServiceInput>): ServiceInput;
}

async function ready(): Promise<Ready> {
  const fixture = await openDomain();
  await addCluster(fixture.domain);
  const peerId = (await fixture.domain.peers.self(await addPeer(fixture.domain, 'web'))).peer.id;
  const service: Ready['service'] = (mode, stream, more) =>
    serviceOf(peerId, {
      mode,
      auth: noSignIn,
      stream: { ...defaultStream, ...stream },
      targets: [targetOf(peerId, { protocol: mode === 'udp' ? 'udp' : 'tcp', port: 7000 })],
      ...more,
    });
  return { ...fixture, peerId, service };
}

t.test('a service of ranges listens on all of them, and the gateway may reach where they lead', async (t) => {
  const { domain, service, peerId } = await ready();
  const gateway = await addPeer(domain, 'gw');
  t.ok(gateway);
  const portRanges = [
    { start: 6000, end: 6000, target: 80 },
    { start: 5000, end: 5009, target: undefined },
  ];
  const made = await domain.services.create(service('tcp', { portRanges }), system);
  t.match(made, { listenPort: 5000, portAutoAssigned: false, stream: { portRanges: [{ start: 5000 }, { start: 6000 }] } }, 'in their order');
  t.same((await domain.services.mapping(made.id, 'proxy.test'))?.stream, made.stream);
  t.same(await domain.services.get(made.id), made, 'as it was stored');
  const { peer } = await domain.peers.self(keyOf('web'));
  t.equal(peer.id, peerId);
  await domain.close();
});

t.test('a port is one service’s, and a conflict says whose', async (t) => {
  const { domain, service } = await ready();
  await domain.services.create(service('tcp', { portRanges: [{ start: 5000, end: 5009, target: undefined }] }, { name: 'first' }), system);
  const second = (listenPort: number, stream: Partial<StreamOptions> = {}, mode: 'tcp' | 'udp' = 'tcp'): Promise<unknown> =>
    domain.services.create(service(mode, stream, { name: 'second', domain: 'b.proxy.test', listenPort }), system);
  await t.rejects(second(5003), { code: 'DOMAIN_SERVICE_PORT_TAKEN', message: /tcp port 5003 is first's/ });
  const over = [{ start: 4990, end: 5000, target: undefined }];
  await t.rejects(second(4990, { portRanges: over }), { code: 'DOMAIN_SERVICE_PORT_TAKEN', message: /5000 is first's/ });
  await second(5003, {}, 'udp');
  await domain.close();
});

t.test('one domain carries an http service and others on ports of their own, but the pages of one only', async (t) => {
  const { domain, service, peerId } = await ready();
  const web = await domain.services.create(serviceOf(peerId, { name: 'web' }), system);
  await domain.services.create(service('tcp', {}, { listenPort: 5432 }), system);
  await domain.services.create(service('udp', {}, { listenPort: 5432 }), system);
  await domain.services.create(service('tls', {}, { listenPort: 8443, name: 'secret' }), system);
  const taken = { code: 'DOMAIN_SERVICE_DOMAIN_TAKEN' };
  await t.rejects(domain.services.create(service('tls', {}, { listenPort: 8443 }), system), { ...taken, message: /secret's on this port/ });
  const signIn = { ...noSignIn, oidc: { enabled: true, groups: [] } };
  await t.rejects(domain.services.create(service('tcp', {}, { listenPort: 5433, auth: signIn }), system), { ...taken, message: /web's/ });
  await t.rejects(domain.services.create(serviceOf(peerId), system), taken);
  t.equal(await domain.services.signsInAt('app.proxy.test'), true);
  await domain.services.delete(web.id, system);
  t.equal(await domain.services.signsInAt('app.proxy.test'), false, 'those without pages have nothing to sign in at');
  await domain.services.create(service('tcp', {}, { listenPort: 5433, auth: signIn }), system);
  t.equal(await domain.services.signsInAt('app.proxy.test'), true);
  await domain.close();
});

t.test('what cannot be meant is refused, with the reason', async (t) => {
  const { domain, service, peerId } = await ready();
  const ca = await createTestCa();
  const leaf = await ca.issue(['x.test']);
  const ranges = (...portRanges: StreamOptions['portRanges'][number][]): Partial<StreamOptions> => ({ portRanges });
  const range = (start: number, end: number, target?: number): StreamOptions['portRanges'][number] => ({ start, end, target });
  const asks = (pem: string): Partial<StreamOptions> => ({
    termination: { alpn: [], tellTarget: false, clientCertificate: { ca: pem, required: true } },
  });
  const refused: readonly (readonly [string, ServiceInput, RegExp])[] = [
    ['backwards', service('tcp', ranges(range(10, 9))), /before it begins/],
    ['ranges that overlap', service('tcp', ranges(range(5, 9), range(9, 12))), /in common/],
    ['too many ports', service('tcp', ranges(range(1000, 1000 + portsPerService))), /at most 1024 ports/],
    ['a port too many beside them', service('tcp', ranges(range(2000, 1999 + portsPerService)), { listenPort: 80 }), /at most 1024 ports/],
    ['targets beyond the last port', service('udp', ranges(range(5, 9, 65_534))), /beyond 65535/],
    [
      'shifted beyond the last port',
      service('udp', ranges(range(5, 65)), { targets: [targetOf(peerId, { protocol: 'udp', port: 65_500 })] }),
      /must be from 1/,
    ],
    ['ranges of a tls service', service('tls', ranges(range(5, 9)), { listenPort: 5 }), /one port/],
    ['a tcp service that ends TLS', service('tcp', asks(ca.caPem)), /Only a tls service/],
    ['no authorities', service('tls', asks(''), { listenPort: 443 }), /PEM form/],
    ['authorities that are none', service('tls', asks(leaf.certPem), { listenPort: 443 }), /not one of an authority/],
    ['half of a certificate', service('tls', asks(`${ca.caPem}${ca.caPem.slice(0, 100)}`), { listenPort: 443 }), /PEM form/],
    ['a key among them', service('tls', asks(`${ca.caPem}${leaf.keyPem}`), { listenPort: 443 }), /PEM form/],
    [
      'a certificate that cannot be read',
      service('tls', asks('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----'), { listenPort: 443 }),
      /cannot be read/,
    ],
    [
      'checks of udp',
      service('udp', { healthCheck: { intervalMs: 1000, timeoutMs: 1000, healthyAfter: 1, unhealthyAfter: 1 } }),
      /cannot be checked/,
    ],
    ['a wildcard of tcp', service('tcp', {}, { domain: '*.db.proxy.test' }), /wildcard/],
    [
      'a wildcard to sign in at',
      service('tls', {}, { domain: '*.db.proxy.test', listenPort: 443, auth: { ...noSignIn, oidc: { enabled: true, groups: [] } } }),
      /no page/,
    ],
    ['TLS in TLS that is passed on', service('tls', {}, { listenPort: 443, targets: [targetOf(peerId, { protocol: 'tls' })] }), /put into TLS again/],
    [
      'telling a target that does not listen',
      service('tls', { termination: { alpn: [], tellTarget: true, clientCertificate: undefined } }, { listenPort: 443 }),
      /PROXY protocol, version 2/,
    ],
    ['stream options of http', serviceOf(peerId, { stream: { ...defaultStream, ejection: { failures: 1, ejectMs: 1 } } }), /not for http/],
  ];
  for (const [name, request, message] of refused) await t.rejects(domain.services.create(request, system), { code: 'DOMAIN_INVALID', message }, name);
  t.same(await domain.services.list(), []);
  await domain.close();
});
