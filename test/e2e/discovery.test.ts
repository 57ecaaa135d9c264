// What an agent finds by itself is published by the rules of exposed services: a file and Docker's labels, over real processes.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { startApp, startExposeMesh } from '../support/expose.ts';
import { FakeDocker } from '../support/fake-docker.ts';
import { call, cluster, type Json, until } from '../support/parts.ts';

void t.test('a file and containers are published, changed and taken away', { timeout: 180_000 }, async (t) => {
  const mesh = await startExposeMesh(t, { peer_expose_public: true, peer_expose_domains: [cluster] }, { MESHGATE_SERVER_EXPOSE_TTL: '4s' });
  const docker = new FakeDocker(join(mesh.plane.folder, 'docker.sock'));
  await docker.start();
  t.teardown(() => docker.stop());
  const [second, boxed] = [await startApp(t, 'hello from the second'), await startApp(t, 'hello from a container')];
  const file = join(mesh.plane.folder, 'services.yaml');
  const web = `web.${cluster}`;
  const write = (...services: string[]): Promise<void> => writeFile(file, `services:\n${services.map((line) => `  - ${line}\n`).join('')}`);
  await write(`{ target: ${mesh.app.port}, domain: ${web}, public: true }`);
  const agent = await mesh.startAgent('host', { defaultHost: '', discovery: { file, docker: docker.path } });
  const opens = (domain: string, text: string): Promise<number> =>
    until(`${domain} says ${text}`, async () => (await mesh.get(domain)).text === text, 30_000);
  const isGone = (domain: string): Promise<number> => until(`${domain} is gone`, async () => (await mesh.get(domain)).status === 404, 20_000);
  const statusOf = async (source: string): Promise<Json | undefined> =>
    ((await agent.status())['discovery'] as readonly Json[]).find((each) => each['source'] === source);

  await opens(web, 'hello from the app');
  t.match(await mesh.exposed(), [{ domain: web, exposure: { peer_name: 'host' } }]);
  await write(`{ target: ${second.port}, domain: ${web}, public: true }`, `{ target: ${mesh.app.port}, domain: api.${cluster}, public: true }`);
  await opens(web, 'hello from the second');
  await opens(`api.${cluster}`, 'hello from the app');
  await write(`{ target: ${second.port}, domain: ${web}, public: true }`, '{ target: 1, domian: x }');
  await until('what is wrong is told', async () => /line 3, column \d+: services\[1\]\.domian/.test(String((await statusOf(file))?.['problem'])));
  t.equal((await mesh.get(web)).text, 'hello from the second', 'and what was before goes on');

  const name = `box.${cluster}`;
  docker.run({
    id: 'c1',
    name: 'box',
    labels: { 'meshgate.enable': 'true', 'meshgate.domain': name, 'meshgate.public': 'true' },
    ports: [{ IP: '0.0.0.0', PrivatePort: 80, PublicPort: boxed.port, Type: 'tcp' }],
  });
  const begun = performance.now();
  await opens(name, 'hello from a container');
  t.comment(`figure: ${(performance.now() - begun).toFixed(0)} ms from the start of a container to its first page`);
  docker.kill('c1');
  await isGone(name);

  // Not below a domain that the settings name: it says why, and goes on asking.
  docker.run({
    id: 'c2',
    name: 'thief',
    labels: { 'meshgate.enable': 'true', 'meshgate.domain': 'login.example.com', 'meshgate.public': 'true', 'meshgate.port': '80' },
    ports: [{ IP: '0.0.0.0', PrivatePort: 80, PublicPort: boxed.port, Type: 'tcp' }],
  });
  await until('the refusal is told', async () =>
    ((await agent.status())['exposures'] as readonly Json[]).some(
      ({ source, reason }) => source === 'docker' && /may not choose names/.test(String(reason)),
    ),
  );
  docker.kill('c2');

  // Whoever may not any more loses what is there; whoever may again has it back by itself.
  const [account] = (await mesh.plane.api.call('GET', '/api/accounts')) as readonly Json[];
  const permit = (enabled: boolean): Promise<Json> =>
    call(mesh.plane, 'PUT', `/api/accounts/${String(account?.['id'])}`, { settings: { peer_expose_enabled: enabled } });
  await permit(false);
  await isGone(web);
  t.same(await mesh.exposed(), []);
  await permit(true);
  await opens(web, 'hello from the second');

  const { code } = await agent.end('SIGTERM');
  t.equal(code, 0);
  t.same(await mesh.exposed(), [], 'an agent that stops takes it along');
});
