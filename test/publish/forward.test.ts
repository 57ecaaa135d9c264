// Requests through the publisher to an upstream, on real sockets.
import t from 'tap';
import { exchange, mapping, path, readUntil, startEcho, startFixture } from './harness.ts';

t.test('a request over TLS reaches the upstream and its answer comes back', async (t) => {
  const echo = await startEcho();
  const fixture = await startFixture([mapping('a.test', [path(echo.port)])]);
  t.teardown(() => Promise.all([fixture.close(), echo.close()]));
  const answer = await exchange(fixture, 'GET /hello%2Fworld?x=1&y=%20 HTTP/1.1\r\nHost: a.test\r\nX-Odd-Case: Kept\r\nConnection: close\r\n\r\n');
  t.match(answer, /^HTTP\/1\.1 200 OK\r\n/);
  t.match(answer, /X-Up: yes\r\n/);
  t.match(echo.received[0], /^GET \/hello%2Fworld\?x=1&y=%20 HTTP\/1\.1\r\nHost: a\.test\r\nX-Odd-Case: Kept\r\n/);
  t.match(fixture.entries[0], { status: 200, path: '/hello%2Fworld', reason: 'public_service', method: 'GET', host: 'a.test' });
});

t.test('a kept connection serves pipelined requests in order over one upstream connection', async (t) => {
  const echo = await startEcho();
  const fixture = await startFixture([mapping('a.test', [path(echo.port)])]);
  t.teardown(() => Promise.all([fixture.close(), echo.close()]));
  const socket = await fixture.connect('a.test');
  const answers = readUntil(socket, (text) => text.split('HTTP/1.1 200').length === 4 && text.endsWith('\r\n\r\n'));
  socket.write(
    'GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\nHost: a.test\r\n\r\n',
  );
  const text = await answers;
  t.ok(text.indexOf('GET /1') < text.indexOf('POST /2') && text.indexOf('POST /2') < text.indexOf('GET /3'));
  t.equal(echo.connections(), 1);
  t.match(echo.received[1], /\r\n\r\nabc$/);
  socket.destroy();
});
