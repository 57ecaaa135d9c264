// Before `meshgate attack` sends anything, the control plane has to let the caller write the service, and the host's gateway to take the token.
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import type { ApiClient } from '#cli/api-client.ts';
import { proveControl } from '#cli/attack/control.ts';
import { cliError } from '#cli/errors.ts';
import { createTestCa } from '../support/test-ca.ts';

const host = 'app.localhost';
const good = 'A'.repeat(43);

void t.test('only a gateway that takes the token is proven, and only services that the caller may write', async (t) => {
  const ca = await createTestCa();
  const { certPem: cert, keyPem: key } = await ca.issue([host]);
  const asked: string[] = [];
  let answer: readonly [status: number, body: string] = [404, '{}'];
  const server = createServer({ cert, key }, (request, response) => {
    asked.push(`${request.url} ${String(request.headers['x-meshgate-diagnosis'])}`);
    response.writeHead(answer[0], { 'content-type': 'application/json' }).end(answer[1]);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.teardown(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const api = (mode: string, mayWrite: boolean): ApiClient => ({
    call: (method) => {
      if (method === 'GET') return Promise.resolve([{ id: 's', name: 'app', domain: host, mode }]);
      return mayWrite ? Promise.resolve({ token: good }) : Promise.reject(cliError('CLI_API_REFUSED', '403'));
    },
    close: () => Promise.resolve(),
  });
  const prove = (client: ApiClient, name = host) => proveControl({ api: client, host: name, port, ca: ca.caPem, stop: new AbortController().signal });

  await t.rejects(prove(api('http', true), 'other.localhost'), { code: 'CLI_NOT_PROVEN' }, 'no service has the host');
  await t.rejects(prove(api('tcp', true)), { code: 'CLI_NOT_PROVEN' }, 'no service of HTTP');
  await t.rejects(prove(api('http', false)), { code: 'CLI_API_REFUSED' }, 'not the caller’s to write');
  t.same(asked, [], 'nothing was sent to the host');

  for (const other of [
    [404, '{}'],
    [200, '{}'],
    [200, '{"steps":[]}'],
    [200, '[]'],
    [200, 'hello'],
    [302, ''],
    [401, '{"steps":1}'],
  ] as const) {
    answer = other;
    await t.rejects(prove(api('http', true)), { code: 'CLI_NOT_PROVEN' }, other.join(' '));
  }
  t.ok(asked.every((line) => line === `/.meshgate/diagnosis?path=%2F ${good}`));
  answer = [200, '{"steps":[{"stage":"route","ok":true,"text":"served"}]}'];
  t.match(await prove(api('http', true)), { host, address: '127.0.0.1', port });
});
