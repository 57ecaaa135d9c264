// TLS towards upstreams (attack row T-17): whom we believe, who we are, and what is said where it fails.
import type { AddressInfo } from 'node:net';
import { createServer, type TlsOptions, type TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import { plainTls, type UpstreamTls } from '#model/web.ts';
import { createTestCa } from '../support/test-ca.ts';
import { dialTcp, exchange, mapping, path, startFixture } from './harness.ts';

const get = 'GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n';

/** An https upstream on loopback; what it sees of each handshake is kept. */
async function serve(
  t: Test,
  options: TlsOptions,
): Promise<{ port: number; seen: { name: string | false | null; client: string; requests: number }[] }> {
  const seen: { name: string | false | null; client: string; requests: number }[] = [];
  const server = createServer(options, (socket: TLSSocket) => {
    const entry = { name: socket.servername as string | false | null, client: socket.getPeerX509Certificate()?.subject ?? '', requests: 0 };
    seen.push(entry);
    socket.on('error', () => undefined);
    socket.on('data', () => {
      entry.requests++;
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    });
  });
  server.on('tlsClientError', () => undefined);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => new Promise((resolve) => server.close(resolve)));
  return { port: (server.address() as AddressInfo).port, seen };
}

/** Asks once and tells the answer, and the reason in the access log. */
async function ask(t: Test, port: number, host: string, tls: Partial<UpstreamTls>, skipTlsVerify = false): Promise<string> {
  const fixture = await startFixture([mapping('a.test', [path(port, { protocol: 'https', host, tls: { ...plainTls, ...tls }, skipTlsVerify })])], {
    dial: (target, options) => dialTcp({ host: '127.0.0.1', port: target.port }, options),
    upstreamCa: undefined,
  });
  t.teardown(() => fixture.close());
  const answer = await exchange(fixture, get);
  return answer.endsWith('ok') ? 'ok' : `${answer.slice(9, 12)} ${fixture.entries.at(-1)?.reason}`;
}

void t.test('a certificate counts only when its own authority, name and time are right', async (t) => {
  const ours = await createTestCa();
  const others = await createTestCa();
  const good = await ours.issue(['up.test', '127.0.0.1']);
  const ended = await ours.issue(['up.test'], { ended: true });
  const up = await serve(t, { cert: good.certPem, key: good.keyPem });
  const old = await serve(t, { cert: ended.certPem, key: ended.keyPem });
  const ca = ours.caPem;

  t.equal(await ask(t, up.port, 'up.test', { ca }), 'ok');
  t.equal(up.seen.at(-1)?.name, 'up.test', 'its name is asked for');
  t.equal(await ask(t, up.port, '127.0.0.1', { ca }), 'ok', 'an address in the certificate');
  t.equal(up.seen.at(-1)?.name, false, 'addresses are no server names');
  t.equal(await ask(t, up.port, 'inner.test', { ca, serverName: 'up.test' }), 'ok');
  t.equal(up.seen.at(-1)?.name, 'up.test', 'the name that is set, not the host that is dialled');
  t.equal(await ask(t, up.port, 'inner.test', { ca }), '502 upstream_wrong_name');
  t.equal(await ask(t, up.port, 'up.test', { ca, serverName: 'other.test' }), '502 upstream_wrong_name');
  t.equal(await ask(t, up.port, 'up.test', {}), '502 upstream_untrusted', 'the system does not know this authority');
  t.equal(await ask(t, up.port, 'up.test', { ca: others.caPem }), '502 upstream_untrusted');
  t.equal(await ask(t, old.port, 'up.test', { ca }), '502 upstream_expired');
  t.equal(await ask(t, up.port, 'up.test', { ca: 'no PEM' }), '502 upstream_untrusted');
  t.equal(await ask(t, up.port, 'up.test', { ca, clientCertificate: 'no PEM', clientKey: 'none' }), '502 upstream_tls');
  t.equal(
    up.seen.reduce((sum, { requests }) => sum + requests, 0),
    3,
    'a refused upstream never sees a request',
  );
  // What is switched off is off for this target alone.
  t.equal(await ask(t, up.port, 'inner.test', {}, true), 'ok');
  t.equal(await ask(t, old.port, 'up.test', {}, true), 'ok');
});

void t.test('targets with other terms never share a connection', async (t) => {
  const ca = await createTestCa();
  const good = await ca.issue(['up.test']);
  const up = await serve(t, { cert: good.certPem, key: good.keyPem });
  const terms = (own: Partial<UpstreamTls>, skipTlsVerify = false) =>
    path(up.port, { protocol: 'https', host: 'up.test', tls: { ...plainTls, ...own }, skipTlsVerify });
  const fixture = await startFixture([mapping('a.test', [{ ...terms({}, true), path: '/lax' }, terms({})])], {
    dial: (target, options) => dialTcp({ host: '127.0.0.1', port: target.port }, options),
    upstreamCa: undefined,
  });
  t.teardown(() => fixture.close());
  t.match(await exchange(fixture, get.replace('/ ', '/lax ')), /ok$/);
  t.match(await exchange(fixture, get), /^HTTP\/1\.1 502/);
  t.match(await exchange(fixture, get.replace('/ ', '/lax ')), /ok$/);
  t.equal(up.seen.length, 1, 'the lax one is kept');
});

void t.test('the client certificate is shown, and only where it is set', async (t) => {
  const ca = await createTestCa();
  const good = await ca.issue(['up.test']);
  const client = await ca.issue(['gateway.test']);
  const up = await serve(t, { cert: good.certPem, key: good.keyPem, ca: ca.caPem, requestCert: true, rejectUnauthorized: true });
  t.equal(await ask(t, up.port, 'up.test', { ca: ca.caPem, clientCertificate: client.certPem, clientKey: client.keyPem }), 'ok');
  t.match(up.seen.at(-1)?.client, /gateway\.test/);
  t.match(await ask(t, up.port, 'up.test', { ca: ca.caPem }), /^502 upstream_(?:closed|tls|refused)/);
  t.equal(up.seen.length, 1);
});
