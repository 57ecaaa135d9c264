// The command line tool in a directory, and before a server, that mean it ill.
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { run } from './fake-io.ts';

/** A server that keeps what it was asked, and answers everything in the same way. */
async function listen(
  t: Test,
  status: number,
  headers: Readonly<Record<string, string>>,
): Promise<{ readonly port: number; readonly asked: string[] }> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.url} ${request.headers.authorization}`);
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end('[]');
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.teardown(() => server.close());
  return { port: (server.address() as AddressInfo).port, asked };
}

void t.test('row X-8: no header of an answer says where else to go, or who the server is', async (t) => {
  const elsewhere = await listen(t, 200, {});
  const to = `http://127.0.0.1:${elsewhere.port}/`;
  for (const status of [200, 301, 302, 307, 308, 401]) {
    const asked = await listen(t, status, {
      location: `${to}api/peers`,
      'alt-svc': `h2="127.0.0.1:${elsewhere.port}"`,
      'www-authenticate': `Bearer realm="${to}", resource_metadata="${to}"`,
      'x-meshgate-api': to,
      refresh: `0; url=${to}`,
    });
    const env = { MESHGATE_API: `http://127.0.0.1:${asked.port}`, MESHGATE_TOKEN: 'nbp_secret' };
    const { code } = await run(['peer', 'list'], { env });
    t.equal(code, status === 200 ? 0 : 1, `${status}`);
    t.same(asked.asked, ['/api/peers Token nbp_secret'], 'asked once');
  }
  t.same(elsewhere.asked, [], 'and nobody else');
});

void t.test('row X-9: in a directory of somebody else no server, token, authority or program comes from there', async (t) => {
  const place = t.testdir({});
  const state = join(place, '.meshgate');
  mkdirSync(state);
  const evil = { api: 'https://evil.test', token: 'nbp_evil', ca: join(place, 'ca.pem') };
  writeFileSync(join(state, 'credentials.json'), JSON.stringify(evil));
  chmodSync(join(state, 'credentials.json'), 0o600);
  for (const name of ['meshgate.json', '.meshgaterc', 'credentials.json', '.env', 'package.json', 'server.json'])
    writeFileSync(join(place, name), name === '.env' ? 'MESHGATE_API=https://evil.test\nMESHGATE_TOKEN=nbp_evil\n' : JSON.stringify(evil));
  writeFileSync(join(place, 'ca.pem'), 'none');
  const home = process.cwd();
  process.chdir(place);
  try {
    const env = { HOME: t.testdirName, XDG_CONFIG_HOME: join(place, 'nothing') };
    const { code, err } = await run(['peer', 'list'], { env });
    t.equal(code, 1);
    t.notMatch(err, /evil\.test: /, 'nobody there was asked');
    t.match(err, /only for a server of this machine/);
    // A state directory that was named is one's own.
    const named = await run(['peer', 'list'], { env: { ...env, MESHGATE_STATE_DIR: state } });
    t.match(named.err, /only for a server of this machine/, 'though not beyond this machine');
  } finally {
    process.chdir(home);
  }
});
