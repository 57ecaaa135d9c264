import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import { DockerDiscovery } from '../../src/agent/discovery/docker.ts';
import { wishOfContainer } from '../../src/agent/discovery/docker-labels.ts';
import type { FoundWish } from '../../src/agent/discovery/wanted.ts';
import { FakeDocker, type FakeContainer } from '../support/fake-docker.ts';
import { seeded } from '../support/seeded.ts';
import { until } from '../support/until.ts';

const labels = (more: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> => ({ 'meshgate.enable': 'true', ...more });

function read(more: Partial<FakeContainer> & { readonly address?: string }, own: Readonly<Record<string, string>> = {}) {
  const { ports = [], network = 'bridge', address = '172.17.0.2' } = more;
  return wishOfContainer({
    Id: 'c1',
    Names: ['/My_App.1'],
    Labels: labels(own),
    Ports: ports.map((port) => ({ IP: undefined, PublicPort: undefined, ...port })),
    HostConfig: { NetworkMode: network },
    NetworkSettings: { Networks: { other: { IPAddress: '' }, [network]: { IPAddress: address } } },
  });
}

void t.test('where a container is: a port that is published here, the host’s own, or its address', async (t) => {
  const web = { PrivatePort: 80, Type: 'tcp' };
  t.match(read({ ports: [{ ...web, IP: '0.0.0.0', PublicPort: 8080 }] }), {
    ok: true,
    wish: { target: { host: '127.0.0.1', port: 8080 }, remote: false },
  });
  t.match(read({ ports: [{ ...web, IP: '192.0.2.1', PublicPort: 8080 }] }), { wish: { target: { host: '172.17.0.2', port: 80 }, remote: false } });
  t.match(read({ ports: [web] }), { wish: { target: { host: '172.17.0.2', port: 80 } } });
  t.match(read({ network: 'host', address: '' }, { 'meshgate.port': '3000' }), { wish: { target: { host: '127.0.0.1', port: 3000 } } });
  t.match(read({ ports: [web, { PrivatePort: 443, Type: 'tcp' }] }), {
    ok: false,
    problem: /meshgate\.port is missing, and the container has the ports 80, 443/,
  });
  t.match(read({}), { ok: false, problem: /no port/ });
  t.match(read({ ports: [web], address: '' }), { ok: false, problem: /no address/ });
  t.match(read({ ports: [web] }, { 'meshgate.network': 'another' }), { ok: false, problem: /no address/ });
  t.match(read({ ports: [web, { PrivatePort: 53, Type: 'udp' }] }, { 'meshgate.mode': 'udp' }), {
    wish: { target: { port: 53 }, request: { protocol: 'udp' } },
  });
});

void t.test('what labels ask for; without a word people sign in, and a word that is none publishes nothing', async (t) => {
  const ports = [{ PrivatePort: 80, Type: 'tcp' }];
  t.match(read({ ports }), {
    wish: { request: { place: { kind: 'random', name: 'my-app-1' }, access: { kind: 'proof', signIn: true, groups: [] } } },
  });
  t.match(read({ ports }, { 'meshgate.domain': 'web.apps.example.com', 'meshgate.sso': 'true', 'meshgate.groups': 'a, b' }), {
    wish: { request: { place: { kind: 'exact', domain: 'web.apps.example.com' }, access: { groups: ['a', 'b'] } } },
  });
  t.match(read({ ports }, { 'meshgate.public': 'true', 'meshgate.expires': '1h' }), {
    wish: { request: { access: { kind: 'public' }, endsAfterMs: 3_600_000 } },
  });
  for (const [name, value] of [
    ['meshgate.ssso', 'true'],
    ['meshgate.sso', 'yes'],
    ['meshgate.password', 'secret'],
    ['meshgate.port', '0'],
    ['meshgate.mode', 'ftp'],
  ] as const)
    t.match(read({ ports }, { [name]: value }), { ok: false, problem: new RegExp(name.replace('.', '\\.')) }, name);
  t.match(read({ ports }, { 'meshgate.public': 'true', 'meshgate.sso': 'true' }), { ok: false, problem: /at once/ });
});

void t.test('containers that start and end, a Docker that goes and comes back', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'mg-docker-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const docker = new FakeDocker(join(folder, 'docker.sock'));
  const applied: string[][] = [];
  const wanted = {
    size: 0,
    apply: async (wishes: ReadonlyMap<string, FoundWish>) => {
      wanted.size = wishes.size;
      applied.push([...wishes.keys()]);
    },
  };
  const discovery = new DockerDiscovery(docker.path, wanted, { clock: systemClock, random: seeded(3), log: silentLogger });
  t.teardown(() => discovery.close());
  await until('there is no Docker', () => discovery.status().problem === 'there is no such socket');
  await docker.start();
  t.teardown(() => docker.stop());
  await until('it is there', () => discovery.status().problem === '');
  const last = (): readonly string[] => applied.at(-1) ?? [];
  const web = { id: 'web', name: 'web', labels: labels(), ports: [{ PrivatePort: 80, Type: 'tcp' }], address: '172.17.0.2' };
  docker.run(web);
  docker.run({ ...web, id: 'other', labels: { 'meshgate.enable': 'false' } });
  docker.run({ ...web, id: 'unlabelled', labels: {} });
  const begun = performance.now();
  await until('it is found', () => last().includes('web'));
  t.comment(`figure: found ${(performance.now() - begun).toFixed(0)} ms after its start`);
  t.same(last(), ['web']);
  docker.run({ ...web, id: 'bad', name: 'bad', labels: labels({ 'meshgate.prot': '80' }) });
  await until('what is wrong is told', () => discovery.status().problem.startsWith('bad: meshgate.prot '));
  t.same(last(), ['web'], 'and the others go on');
  docker.kill('bad');
  await until('it is right again', () => discovery.status().problem === '');
  docker.kill('web');
  await until('it is gone', () => last().length === 0);
  docker.run(web);
  await until('it is back', () => last().includes('web'));
  await docker.stop();
  await until('Docker is away', () => discovery.status().problem !== '');
  t.same(last(), ['web'], 'what was found goes on');
  docker.kill('web');
  docker.run({ ...web, id: 'web-2' });
  await docker.start();
  await until('and what happened meanwhile is seen', () => last()[0] === 'web-2', 20_000);
  t.ok(
    docker.asked.every((path) => path === '/_ping' || path.startsWith('/v1.47/')),
    'in the version that the daemon speaks',
  );
});
