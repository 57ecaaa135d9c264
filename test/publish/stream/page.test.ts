// The page of a stream service: for which address it opens the port.
import t from 'tap';
import { asId, type SessionId } from '#model/ids.ts';
import { accessKey } from '#publish/access/restrictions.ts';
import { alice, exchange, mapping, path, startFixture, withLogin } from '../harness.ts';

void t.test('a proxy before us that does not say whose request it is opens nothing: everybody behind it would come in', async (t) => {
  const service = mapping('a.test', [path(1)], { ...withLogin, mode: 'tcp', listenPort: 5432 });
  const fixture = await startFixture([service], { trustedProxies: ['127.0.0.0/8'] });
  t.teardown(() => fixture.close());
  const times = { createdAt: Date.now(), expiresAt: Date.now() + 60_000, idleMs: undefined };
  const session = { id: asId<SessionId>('s1'), serviceId: service.id, identity: alice, ...times };
  fixture.identity.sessions.set('s1', { kind: 'live', session });
  const ask = (more: string): Promise<string> =>
    exchange(fixture, `GET / HTTP/1.1\r\nHost: a.test\r\nCookie: __Host-meshgate=s1\r\n${more}Connection: close\r\n\r\n`);
  t.match(await ask(''), /^HTTP\/1\.1 403 /);
  t.match(await ask('X-Forwarded-For: unknown\r\n'), /^HTTP\/1\.1 403 /);
  t.equal(fixture.unlocks.size, 0);
  t.match(await ask('X-Forwarded-For: 9.9.9.9, ::ffff:192.0.2.7\r\n'), /^HTTP\/1\.1 200 /);
  const access = accessKey(service, 'a.test');
  t.match(fixture.unlocks.find({ id: service.id, access }, '192.0.2.7'), { identity: alice }, 'as its TCP port will see it');
  t.equal(fixture.unlocks.size, 1);
});
