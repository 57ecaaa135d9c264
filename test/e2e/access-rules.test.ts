// Access rules, limits, countries and CrowdSec through the whole product: asked for at the REST API, held by the gateway's process, told in its log.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { ask, type Told } from '../publish/ask.ts';
import { rawTls } from '../support/hostile.ts';
import { writeMmdb } from '../support/mmdb.ts';
import {
  call,
  cluster,
  findPeer,
  makeGroup,
  makeSetupKey,
  startAgentPart,
  startGatewayPart,
  startPlane,
  until,
  type Json,
} from '../support/parts.ts';

const services = '/api/reverse-proxies/services';
const host = `rules.${cluster}`;

void t.test('access rules from the API to the log', { timeout: 110_000 }, async (t) => {
  let decisions: readonly Json[] | undefined;
  const lapi = createServer((_request, response) => {
    if (decisions === undefined) response.writeHead(503).end();
    else response.end(JSON.stringify({ new: decisions, deleted: null }));
  });
  await new Promise<void>((resolve) => void lapi.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    lapi.closeAllConnections();
    lapi.close();
  });
  const plane = await startPlane(t);
  const { certPem, keyPem } = await plane.ca.issue([`*.${cluster}`]);
  await mkdir(join(plane.folder, 'certs'), { recursive: true });
  await writeFile(join(plane.folder, 'certs', 'all.key'), keyPem, { mode: 0o600 });
  await writeFile(join(plane.folder, 'certs', 'all.crt'), certPem);
  const [countryFile, keyFile, accessLog] = ['country.mmdb', 'crowdsec-key', 'access.log'].map((name) => join(plane.folder, name));
  await writeFile(countryFile ?? '', writeMmdb({ '127.0.0.0/8': { country: { iso_code: 'DE' } } }));
  await writeFile(keyFile ?? '', 'k3y\n', { mode: 0o600 });
  const gateway = await startGatewayPart(t, plane, {
    geo: { countryFile },
    crowdsec: { url: `http://127.0.0.1:${(lapi.address() as AddressInfo).port}`, keyFile },
    accessLog,
  });
  await until('the gateway is known', async () => ((await plane.api.call('GET', '/api/reverse-proxies/clusters')) as readonly Json[]).length > 0);
  await startAgentPart(t, plane, 'office', await makeSetupKey(plane, [await makeGroup(plane, 'office')]), {});
  await until('the agent has joined', async () => ((await plane.api.call('GET', '/api/peers?name=office')) as readonly Json[]).length > 0);
  const app = createServer((request, response) => void response.end(`app ${request.url ?? ''}`));
  await new Promise<void>((resolve) => void app.listen(0, '127.0.0.1', resolve));
  t.teardown(() => app.close());

  const body = (access: Json, crowdsec = 'off'): Json => ({
    name: 'rules',
    domain: host,
    mode: 'http',
    enabled: true,
    auth: { bearer_auth: { enabled: true, distribution_groups: [] } },
    targets: [],
    access_restrictions: { allowed_cidrs: [], blocked_cidrs: [], allowed_countries: [], blocked_countries: [], crowdsec_mode: crowdsec },
    access,
  });
  const target = {
    target_id: String((await findPeer(plane, 'office'))['id']),
    target_type: 'peer',
    protocol: 'http',
    port: (app.address() as AddressInfo).port,
    path: '/',
    enabled: true,
  };
  const id = String((await call(plane, 'POST', services, { ...body({}), targets: [target] }))['id']);
  const put = (access: Json, crowdsec?: string): Promise<Json> =>
    call(plane, 'PUT', `${services}/${id}`, { ...body(access, crowdsec), targets: [target] });
  const state = async (): Promise<string> => {
    const { status, status_reason: reason = '' } = (await call(plane, 'GET', `${services}/${id}`))['meta'] as {
      status: string;
      status_reason?: string;
    };
    return `${status} ${reason}`.trim();
  };
  const door = {
    connect: (name: string, protocols?: readonly string[]) => rawTls({ port: gateway.publicPort, caFile: plane.caFile, servername: name }, protocols),
  };
  const get = (path: string): Promise<Told> => ask(door, 'h2', { host, path });
  const becomes = (path: string, status: number): Promise<number> =>
    until(`${path} is ${status}`, async () => (await get(path)).status === status, 20_000);
  await until('it is active', async () => (await state()) === 'active', 20_000);
  await becomes('/', 401);

  const rules = [
    { name: 'no admin', action: 'deny', when: { paths: ['/admin'] } },
    { name: 'germany', action: 'bypass', when: { paths: ['/public'], countries: ['DE'] } },
    { name: 'watched', action: 'deny', observe: true, when: { methods: ['GET'] } },
  ];
  await put({ rules });
  const ms = await becomes('/public/x', 200);
  t.comment(`figure: a rule counted ${ms.toFixed(0)} ms after the API had taken it`);
  t.equal(String((await get('/public/x')).body), 'app /public/x');
  for (const path of ['/admin', '/public/%2e%2e/admin', '/ADMIN/x', '/public/..%2fadmin']) t.equal((await get(path)).status, 403, path);
  t.equal((await get('/else')).status, 401);
  const records = async (): Promise<readonly Json[]> =>
    (await readFile(accessLog ?? '', 'utf8')).split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as Json]));
  await until('the log has it', async () => {
    const all = await records();
    return all.some(({ path, rule }) => path === '/ADMIN/x' && rule === 'no admin') && all.some(({ path }) => path === '/else');
  });
  const lines = await records();
  t.match(
    lines.findLast(({ path }) => path === '/admin'),
    { reason: 'rule_denied', rule: 'no admin', status: 403 },
  );
  t.match(
    lines.findLast(({ path }) => path === '/public/x'),
    { reason: 'bypass', rule: 'germany' },
  );
  t.match(
    lines.findLast(({ path }) => path === '/else'),
    { reason: 'not_signed_in', observed: ['watched'] },
  );

  await put({ rules: [{ name: 'nets', action: 'deny', when: { networks: [64_500] } }] });
  await becomes('/public/x', 403);
  await until('the state says what is missing', async () =>
    /active warning: the access rule "nets" cannot be decided.*geo\.asnFile/.test(await state()),
  );

  await put({ rules: [], rate_limits: [{ per: 'address', count: 2, in: '1h' }] });
  await becomes('/x', 429);
  t.match((await get('/x')).header('retry-after'), /^\d+$/);

  await put({ rules }, 'enforce');
  await becomes('/public/x', 403);
  await until('the state says why', async () => (await state()).startsWith('error everybody is denied: CrowdSec has not told'));
  decisions = [];
  t.comment(`figure: open ${(await becomes('/public/x', 200)).toFixed(0)} ms after the LAPI had begun to answer`);
  decisions = [{ id: 1, scope: 'Ip', value: '127.0.0.1', scenario: 'test/too-curious', type: 'ban', duration: '1h', origin: 'cscli' }];
  t.comment(`figure: banned ${(await becomes('/public/x', 403)).toFixed(0)} ms after the decision`);
  await until('the log says it', async () => (await records()).some(({ reason }) => reason === 'crowdsec_denied'));
});
