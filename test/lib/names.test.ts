// Names and addresses as text: localhost stays on this machine, host:port splits one way only.
import t from 'tap';
import { formatHostPort, parseHostPort } from '#lib/net.ts';
import { isLocalhostName, resolveHost } from '#lib/resolve.ts';

t.test('every name under localhost is loopback, whatever the resolver says', async (t) => {
  for (const name of ['localhost', 'app.localhost', 'A.B.LOCALHOST', 'app.localhost.']) t.same(await resolveHost(name), ['127.0.0.1', '::1'], name);
  for (const name of ['localhost.example', 'notlocalhost', 'localhostx', '.']) t.equal(isLocalhostName(name), false, name);
  t.same(await resolveHost('192.0.2.1'), ['192.0.2.1']);
  t.same(await resolveHost('2001:db8::1'), ['2001:db8::1']);
});

t.test('host:port reads back', async (t) => {
  for (const [host, port] of [
    ['a.test', 443],
    ['192.0.2.1', 1],
    ['::1', 65_535],
    ['2001:db8::1', 0],
  ] as const) {
    t.same(parseHostPort(formatHostPort(host, port)), { host, port });
  }
  t.same(parseHostPort('a.test', 80), { host: 'a.test', port: 80 });
  t.same(parseHostPort('[::1]', 80), { host: '::1', port: 80 });
  for (const text of ['', 'a.test', ':80', 'a:b:80', '::1:80', 'a.test:65536', 'a.test:', 'a b:80', '[::1', 'a.test:8x', 'a.test:-1']) {
    t.equal(parseHostPort(text), undefined, text);
  }
});
