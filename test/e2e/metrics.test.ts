// The metrics of all three processes while a request goes through them, and readiness while the control plane is away.
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { Agent, request } from 'undici';
import { freePort } from '../support/mesh.ts';
import { ask, samplesOf } from '../support/metrics.ts';
import {
  call,
  cluster,
  findPeer,
  type Json,
  makeGroup,
  makeSetupKey,
  startAgentPart,
  startGatewayPart,
  startPart,
  startPlane,
  startUpstream,
  until,
} from '../support/parts.ts';

async function memoryOf(pid: number): Promise<string> {
  const kilobytes = Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8').catch(() => ''))?.[1] ?? 0);
  return `${(kilobytes / 1024).toFixed(0)} MB`;
}

void t.test('server, gateway and agent tell what they do', async (t) => {
  const [serverPort, gatewayPort, agentPort] = [await freePort(), await freePort(), await freePort()];
  const plane = await startPlane(t, { env: { MESHGATE_SERVER_METRICS_LISTEN: String(serverPort) } });
  const upstream = await startUpstream(t, (socket) =>
    socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello')),
  );
  const group = await makeGroup(plane, 'agents');
  const agent = await startAgentPart(t, plane, 'metrics-agent', await makeSetupKey(plane, [group]), {
    targets: [{ port: 80, target: `127.0.0.1:${upstream.port}` }],
    metrics: { listen: String(agentPort) },
  });
  const domain = `app.${cluster}`;
  const certDir = join(plane.folder, 'certs');
  const { certPem, keyPem } = await plane.ca.issue([domain]);
  await mkdir(certDir, { recursive: true });
  await Promise.all([writeFile(join(certDir, 'app.crt'), certPem), writeFile(join(certDir, 'app.key'), keyPem, { mode: 0o600 })]);
  const gateway = await startGatewayPart(t, plane, { metrics: { listen: String(gatewayPort) } });
  t.comment(
    `figure: with metrics, idle: server ${await memoryOf(plane.part.pid)}, gateway ${await memoryOf(gateway.pid)}, agent ${await memoryOf(agent.pid)}`,
  );

  await until('the cluster is there', async () =>
    ((await plane.api.call('GET', '/api/reverse-proxies/clusters')) as readonly Json[]).some((entry) => entry['address'] === cluster),
  );
  await until('the agent is ready', async () => (await ask(agentPort, '/healthz/ready')).status === 200, 20_000);
  await call(plane, 'POST', '/api/reverse-proxies/services', {
    name: 'app',
    domain,
    mode: 'http',
    enabled: true,
    auth: { bearer_auth: { enabled: true, distribution_groups: [] } },
    targets: [{ target_id: (await findPeer(plane, 'metrics-agent'))['id'], target_type: 'peer', path: '/', protocol: 'http', port: 80 }],
  });
  const dispatcher = new Agent({
    connect: { ca: plane.caPem, lookup: (_host, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }]) },
  });
  t.teardown(() => dispatcher.close());
  const machine = await call(plane, 'POST', '/api/users', { name: 'machine', role: 'user', auto_groups: [], is_service_user: true });
  const token = String((await call(plane, 'POST', `/api/users/${String(machine['id'])}/tokens`, { name: 'test', expires_in: 1 }))['plain_token']);
  const get = async (credential: string): Promise<number> => {
    const options = { dispatcher, headers: { authorization: `Bearer ${credential}` }, signal: AbortSignal.timeout(10_000) };
    const answer = await request(`https://${domain}:${gateway.publicPort}/secret-path?secret-query=1`, options).catch(() => undefined);
    await answer?.body.dump();
    return answer?.statusCode ?? 0;
  };
  await until('the app answers', async () => (await get(token)) === 200, 30_000);
  t.equal(await get('nbp_000000000000000000000000000000000000'), 401);

  const begun = performance.now();
  const answer = await ask(gatewayPort, '/metrics');
  t.comment(`figure: one scrape of the gateway ${(performance.now() - begun).toFixed(1)} ms, ${answer.text.length} bytes`);
  const samples = samplesOf(answer.text);
  t.ok((samples.get(`meshgate_http_requests_total{service="${domain}",method="GET",status="2xx"}`) ?? 0) >= 1);
  t.equal(samples.get(`meshgate_refusals_total{service="${domain}",stage="access",reason="token_invalid"}`), 1);
  for (const stage of ['access', 'dial', 'first_byte', 'total'])
    t.ok((samples.get(`meshgate_http_duration_seconds_count{service="${domain}",stage="${stage}"}`) ?? 0) >= 1, stage);
  t.ok((samples.get('meshgate_tls_handshakes_total') ?? 0) >= 1);
  t.ok((samples.get(`meshgate_certificate_days_left{name="${domain}"}`) ?? 0) > 0);
  t.equal(samples.get('meshgate_link_up{link="proxy"}'), 1);
  t.equal(samples.get('meshgate_services{state="active"}'), 1);
  const peer = [...samples.keys()].find((name) => name.startsWith('meshgate_peer_path{peer="metrics-agent.'));
  t.match(peer, /path="(?:relay|direct)"/);
  t.ok([...samples].some(([name, value]) => name.startsWith('meshgate_peer_sent_bytes_total{peer="metrics-agent.') && value > 0));
  t.notMatch(answer.text, /nb[a-z]_[0-9a-zA-Z]{8}|secret-path|secret-query|[A-Za-z0-9+/]{43}=/, 'no token, path, query or key');

  const told = async (name: string): Promise<Json | undefined> => (await findPeer(plane, name))['meshgate'] as Json | undefined;
  const waited = await until(
    'the control plane knows the agent’s path to the gateway',
    async () =>
      ((await told('metrics-agent'))?.['paths'] as readonly Json[] | undefined)?.some(({ kind }) => kind === 'direct' || kind === 'relay') === true,
    20_000,
  );
  t.comment(`figure: the agent’s paths in the API ${waited.toFixed(0)} ms after its first request was served`);
  t.match(await told('metrics-agent'), { summary: { none: 0 }, paths: [{ switches: Number, last_switch_reason: /\S/, bytes_sent: Number }] });
  t.match(await agent.status(), { mesh: { pathReports: { state: 'taken' } } });

  const ofAgent = samplesOf((await ask(agentPort, '/metrics')).text);
  t.ok((ofAgent.get('meshgate_forwarded_connections_total') ?? 0) >= 1);
  t.equal(ofAgent.get('meshgate_link_up{link="management"}'), 1);
  const text = (await ask(serverPort, '/metrics')).text;
  const ofServer = samplesOf(text);
  t.equal(ofServer.get('meshgate_connected{kind="peer"}'), 2, 'the agent and the gateway');
  t.equal(ofServer.get('meshgate_connected{kind="gateway"}'), 1);
  t.ok((ofServer.get('meshgate_map_build_seconds_count') ?? 0) >= 2);
  t.equal(ofServer.get('meshgate_api_requests_total{route="/api/users/:id/tokens",method="POST",status="2xx"}'), 1, 'by template, not by path');
  t.ok((ofServer.get('meshgate_store_seconds_count{kind="write"}') ?? 0) >= 1);
  t.equal((await ask(serverPort, '/healthz/ready')).status, 200);

  await plane.part.end('SIGKILL');
  // A token that was never seen cannot be checked now: the visitor is told so, and the record of it waits on disk.
  t.equal(await get('nbp_111111111111111111111111111111111111'), 503);
  const spool = join(gateway.stateDir, 'access-log');
  const spooled = async (): Promise<string> => {
    const names = await readdir(spool);
    return (await Promise.all(names.map((name) => readFile(join(spool, name), 'utf8')))).join('');
  };
  await until('the record is on disk', async () => (await spooled()).includes('auth_unavailable'), 20_000);
  t.notMatch(await spooled(), /secret-query|nbp_/, 'without the query and the token');
  await gateway.end('SIGKILL');
  const settings = JSON.parse(await readFile(join(gateway.stateDir, 'config.json'), 'utf8')) as Json;
  const alone = await startPart(t, 'gateway', gateway.stateDir, settings, { MESHGATE_GATEWAY_TOKEN: 'nbx_not-asked-for-while-nobody-answers' });
  t.equal((await ask(gatewayPort, '/healthz/ready')).status, 200, 'a gateway with a kept configuration is ready while the control plane is away');
  t.equal(samplesOf((await ask(gatewayPort, '/metrics')).text).get('meshgate_link_up{link="proxy"}'), 0);
  t.equal((await ask(agentPort, '/healthz/ready')).status, 200, 'and an agent that has a map stays ready');

  await alone.end('SIGKILL');
  await plane.restart();
  await startGatewayPart(t, plane);
  const kept = async (): Promise<readonly Json[]> => (await call(plane, 'GET', '/api/events/proxy?status_code=503'))['data'] as readonly Json[];
  await until(
    'the record came through an outage and two kills',
    async () => (await kept()).some(({ reason }) => reason === 'auth_unavailable'),
    30_000,
  );
});
