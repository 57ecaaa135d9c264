// `meshgate attack` against a server that is weak on purpose, its proof of control being the test's: each weakness is found.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createSecureServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import type { RowReport } from '#cli/attack/attack.ts';
import { attackCommand } from '#cli/commands/attack.ts';
import { createTestCa } from '../support/test-ca.ts';
import { run } from './fake-io.ts';

/** Tells the target and every field as they came, trailers among them. */
function echo(request: IncomingMessage, response: ServerResponse): void {
  request.resume().once('end', () => {
    const told = [...request.rawHeaders, ...request.rawTrailers];
    response.end(`${request.url}\n${Array.from({ length: told.length / 2 }, (_, i) => `${told[2 * i]}: ${told[2 * i + 1]}\n`).join('')}`);
  });
}

void t.test('the weaknesses of a bare server are found', { timeout: 120_000 }, async (t) => {
  const ca = await createTestCa();
  const { certPem: cert, keyPem: key } = await ca.issue(['weak.test']);
  // What a first own proxy is like: it lets in whoever says a name, believes forwarding fields, and takes any host.
  const server = createSecureServer({ cert, key, allowHTTP1: true }, (request, response) => {
    const { headers, url } = request;
    if (url.startsWith('/echo')) {
      echo(request as unknown as IncomingMessage, response as unknown as ServerResponse);
      return;
    }
    if (url.startsWith('//')) {
      response.writeHead(302, { location: `${url}/` });
      response.end();
      return;
    }
    const named = Object.keys(headers).some((name) => /^(?:remote[-_.]user|x-meshgate-user)$/.test(name));
    const healthy = /GoogleHC/.test(String(headers['user-agent']));
    if (!named && !healthy) {
      response.writeHead(401, { 'set-cookie': 'sid=1; Path=/' });
      response.end('sign in');
      return;
    }
    response.end('welcome');
  });
  server.on('sessionError', () => undefined).on('tlsClientError', () => undefined);
  server.on('upgrade', (_request, socket) => socket.end('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n'));
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;

  const command = attackCommand(({ host, stop }) => {
    t.notOk(stop.aborted);
    return Promise.resolve({ host, address: '127.0.0.1', port, ca: ca.caPem });
  });
  const env = { MESHGATE_API: 'http://127.0.0.1:1', MESHGATE_TOKEN: 'nbp_x' };
  const weak = 'S-3 S-7 S-12 S-14 P-14 P-19 T-2 T-3 T-6 H-1 H-2 H-3 H-10 H-15 H-17 R-1 C-1 C-10 C-11 W-1'.split(' ');
  const asked = weak.flatMap((row) => ['--row', row]);
  const { code, out } = await run(['attack', 'weak.test', '--echo', '/echo', '--json', ...asked], { env, commands: [command] });
  t.equal(code, 1);
  const rows = JSON.parse(out) as readonly RowReport[];
  const failed = rows.filter(({ kind }) => kind === 'failed').map(({ id }) => id);
  for (const id of weak) t.ok(failed.includes(id), `${id} is found: ${JSON.stringify(rows.find((row) => row.id === id)).slice(0, 300)}`);
  t.comment(`figure: ${failed.length} rows failed at the bare server: ${failed.join(' ')}`);

  const told = await run(['attack', 'weak.test', '--row', 't-2', '--row', 'D-1'], { env, commands: [command] });
  t.match(told.out, /^FAILED {6}T-2 /m);
  t.match(told.out, /^\d+ passed, \d+ failed, \d+ not judged$/m);
});

void t.test('what is no host is refused, and so are words that make no sense', async (t) => {
  const commands = [attackCommand(() => Promise.reject(new Error('nobody is asked')))];
  for (const args of [['a b/c'], ['x.test', '--echo', 'no-path'], ['x.test', '--token-file', 'package.json'], ['x.test', '--row', 'S-99']])
    t.equal((await run(['attack', ...args], { commands })).code, 2, args.join(' '));
});
