// What comes over the mesh: a private service is for the peers of its groups, whatever its rules and proofs say, and the machine's key is no
// credential for pages of other sites. Attack row A-16.
import { createServer, type AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { anything, plainAccess, type AccessPolicy } from '#model/access.ts';
import { asId, type PublicKey } from '#model/ids.ts';
import type { ServiceMapping } from '#model/service.ts';
import { alice, exchange, mapping, path, session, startEcho, startFixture, type Echo, type Fixture } from './harness.ts';

const peer = asId<PublicKey>('peer');

/** The fixture, with every connection coming from that peer. */
async function overMesh(
  t: Test,
  changes: Partial<ServiceMapping>,
): Promise<{ readonly fixture: Fixture; readonly echo: Echo; readonly visitor: Fixture }> {
  const echo = await startEcho();
  const fixture = await startFixture([mapping('a.test', [path(echo.port)], changes)]);
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
    const end = { address: '100.64.0.9', port: socket.remotePort ?? 0 };
    fixture.publisher.handleConnection(socket, { remote: end, local: { address: '100.64.0.1', port: 443 }, meshPeer: peer });
    socket.resume();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(async () => {
    await Promise.all([fixture.close(), echo.close()]);
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { fixture, echo, visitor: { ...fixture, port, connect: connectTo(fixture, port) } };
}

function connectTo(fixture: Fixture, port: number): Fixture['connect'] {
  return async (servername, alpn = ['http/1.1']) => {
    const { connect } = await import('node:tls');
    return new Promise((resolve, reject) => {
      const socket = connect({ host: '127.0.0.1', port, servername, ca: fixture.ca, ALPNProtocols: [...alpn] }, () => resolve(socket));
      socket.on('error', reject);
    });
  };
}

const get = (fields: readonly string[] = [], target = '/'): string =>
  ['GET ' + target + ' HTTP/1.1', 'Host: a.test', 'Connection: close', ...fields, '', ''].join('\r\n');

const privately = (access: Partial<AccessPolicy>): Partial<ServiceMapping> => ({ private: true, access: { ...plainAccess, ...access } });

void t.test('a peer that is no member gets nothing of a private service, by no rule and with no secret', async (t) => {
  const bypass = { name: 'health', action: 'bypass', observe: false, when: { ...anything, paths: ['/health'] }, proofs: [] } as const;
  for (const [name, access] of [
    ['a rule that asks for nothing', { proofs: [['peer']], rules: [bypass] }],
    ['a password in place of the peer', { proofs: [['password']] }],
  ] as const) {
    const { fixture, echo, visitor } = await overMesh(t, privately(access));
    fixture.identity.sessions.set('s1', { kind: 'live', session: { ...session('s1', mapping('a.test', []).id), proofs: ['password'] } });
    const cookie = 'Cookie: __Host-meshgate=s1';
    for (const why of ['group_not_allowed', 'token_invalid'] as const) {
      fixture.identity.peers.set(peer, { kind: 'denied', why });
      t.match(await exchange(visitor, get([cookie], '/health')), /^HTTP\/1\.1 403/, name);
    }
    t.equal(echo.received.length, 0, name);
    fixture.identity.peers.set(peer, { kind: 'valid', identity: { ...alice, method: 'peer' } });
    t.match(await exchange(visitor, get([cookie], '/health')), /^HTTP\/1\.1 200/, `${name}, and a member`);
    t.match(await exchange(fixture, get([cookie], '/health')), /^HTTP\/1\.1 403/, `${name}, from outside`);
  }
});

void t.test('a frame on a page of another site is not let in by the machine that it is shown on', async (t) => {
  const { fixture, echo, visitor } = await overMesh(t, privately({ proofs: [['peer']] }));
  fixture.identity.peers.set(peer, { kind: 'valid', identity: { ...alice, method: 'peer' } });
  const from = (dest: string, site = 'cross-site', mode = 'navigate'): Promise<string> =>
    exchange(visitor, get([`Sec-Fetch-Site: ${site}`, `Sec-Fetch-Mode: ${mode}`, `Sec-Fetch-Dest: ${dest}`]));
  for (const dest of ['iframe', 'frame', 'embed', 'object', 'fencedframe']) t.match(await from(dest), /^HTTP\/1\.1 40[13]/, dest);
  t.match(await from('image', 'cross-site', 'no-cors'), /^HTTP\/1\.1 40[13]/);
  t.equal(echo.received.length, 0);
  t.match(await from('document'), /^HTTP\/1\.1 200/, 'a link that somebody follows');
  t.match(await from('iframe', 'same-origin'), /^HTTP\/1\.1 200/, 'its own frames');
});
