// The commands that drive the API, against the real API over a domain in memory; secrets come from files and questions, never from arguments.
import { chmod, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { withApi, type Fixture } from '../server/api/client.ts';
import { run, type Outcome, type World } from './fake-io.ts';

type Signed = Fixture & { cli(line: string, world?: World): Promise<Outcome> };

/** The API on a port and a command line that is signed in as the owner. Words are split at blanks. */
async function signedIn(teardown: Parameters<typeof withApi>[0]): Promise<Signed> {
  const api = await withApi(teardown);
  const env = { MESHGATE_API: `http://127.0.0.1:${api.port}`, MESHGATE_TOKEN: api.as.owner.token };
  return Object.assign(api, { cli: (line: string, world: World = {}) => run(line.split(' '), { ...world, env }) });
}

t.test('setup makes the owner and keeps the token in a private file', async (t) => {
  const api = await withApi(t.teardown);
  const home = t.testdir({});
  const url = `http://app.localhost:${api.port}`;
  const env = { XDG_CONFIG_HOME: home, MESHGATE_API: url };
  const args = ['setup', '--email', 'me@x.test', '--name', 'Me'];
  t.match(await run(args, { env, secrets: ['guess', 'long enough'] }), {
    code: 1,
    err: 'meshgate: the server refused: 403: the set-up code is wrong',
  });
  const made = await run(args, { env, secrets: ['code-1', 'long enough'] });
  t.match(made, { code: 0, out: /^me@x\.test is the owner/ });
  const file = join(home, 'meshgate', 'credentials.json');
  t.equal((await stat(file)).mode & 0o777, 0o600);
  t.match(JSON.parse(await readFile(file, 'utf8')), { api: url, token: /^nbp_/ });
  t.notMatch(made.out, /nbp_/);
  t.match(await run(['user', 'list'], { env: { XDG_CONFIG_HOME: home } }), { code: 0, out: /me@x\.test/ });
  const elsewhere = await run(['user', 'list', '--api', 'http://127.0.0.1:1'], { env: { XDG_CONFIG_HOME: home } });
  t.match(elsewhere, { code: 1, err: /no token for this server/ }, 'a stored token goes only to its own server');
  await chmod(file, 0o644);
  t.match(await run(['user', 'list'], { env: { XDG_CONFIG_HOME: home } }), { code: 1, err: /can be read by others/ });
});

t.test('secrets may come from files', async (t) => {
  const api = await withApi(t.teardown);
  const dir = t.testdir({ code: 'code-1\n', password: 'long enough\nsecond line', empty: '' });
  const env = { XDG_CONFIG_HOME: dir, MESHGATE_API: `http://127.0.0.1:${api.port}` };
  const args = ['setup', '--email', 'me@x.test', '--name', 'Me', '--code-file', join(dir, 'code'), '--password-file'];
  t.match(await run([...args, join(dir, 'empty')], { env }), { code: 1, err: /must hold the password in its first line/ });
  t.match(await run([...args, join(dir, 'missing')], { env }), { code: 1, err: /there is no such file/ });
  t.match(await run([...args, join(dir, 'password')], { env }), { code: 0 });
});

t.test('where to and as whom has to be clear', async (t) => {
  const home = t.testdir({});
  const env = { XDG_CONFIG_HOME: home, MESHGATE_STATE_DIR: home };
  t.match(await run(['peer', 'list'], { env }), { code: 1, err: /say which server/ });
  t.match(await run(['peer', 'list', '--api', 'https://mesh.test'], { env }), { code: 1, err: /no token for this server/ });
  t.match(await run(['peer', 'list', '--api', 'http://mesh.test'], { env: { ...env, MESHGATE_TOKEN: 'nbp_x' } }), {
    code: 1,
    err: /for this machine only/,
  });
  const secret = await run(['peer', 'list', '--api', 'https://user:hunter2@mesh.test'], { env });
  t.match(secret, { code: 1, err: /is not https/ });
  t.notMatch(secret.err, /hunter2/);
  t.match(await run(['peer', 'list', '--api', 'http://127.0.0.1:1'], { env: { ...env, MESHGATE_TOKEN: 'nbp_x' } }), {
    code: 1,
    err: 'meshgate: the server cannot be reached: http://127.0.0.1:1: nothing listens there',
  });
});

t.test('users', async (t) => {
  const api = await signedIn(t.teardown);
  t.match(await api.cli('user create new@x.test --name New --role auditor'), {
    code: 0,
    out: /made new@x\.test \(u\d+\), password generated-password/,
  });
  t.match(await api.cli('user block new@x.test'), { code: 0, out: /is blocked/ });
  t.match(await api.cli('user list'), { out: /new@x\.test +New +auditor +blocked/ });
  t.match(await api.cli('user unblock new@x.test'), { code: 0 });
  t.match(await api.cli('user logout new@x.test'), { code: 0, out: /ended every session/ });
  t.match(await api.cli('user password new@x.test', { secrets: ['a new password'] }), { code: 0 });
  t.match(
    await api.cli('user password owner@x.test', { secrets: ['owner-password', 'a new password'] }),
    { code: 0 },
    'the own one needs the old one',
  );
  t.match(await api.cli('user create robot --service --role admin'), { code: 0 });
  t.match(await api.cli('user delete new@x.test'), { code: 0, out: 'deleted new@x.test' });
  t.match(await api.cli('user delete nobody'), { code: 1, err: 'meshgate: nothing has this name or id: nobody' });
});

t.test('tokens print their text once, alone on standard output', async (t) => {
  const api = await signedIn(t.teardown);
  const made = await api.cli('token create ci --days 7');
  t.match(made, { code: 0, out: /^nbp_ci_t\d+$/, err: 'valid for 7 days; it is not shown again' });
  t.match(await api.cli('token list'), { out: /\bci\b/ });
  t.match(await api.cli('token delete ci'), { code: 0 });
  t.match(await api.cli('token create x --user user@x.test'), { code: 1, err: /403/ });
});

t.test('setup keys, peers, groups and policies', async (t) => {
  const api = await signedIn(t.teardown);
  const web = api.addPeer('web');
  api.addPeer('db');
  t.match(await api.cli('group create servers --peer web --peer db'), { code: 0, out: /made servers/ });
  t.match(await api.cli('group create people'), { code: 0 });
  t.match(await api.cli('group set servers --peer web'), { code: 0, out: 'servers has 1 peers' });
  t.match(await api.cli('group set servers --name hosts'), { code: 0, out: 'hosts has 1 peers' });
  t.match(await api.cli('group set hosts --none --peer web'), { code: 2 });
  t.match(await api.cli('group list'), { out: /hosts +web/ });
  t.match(await api.cli('policy create web --from people --to hosts --protocol tcp --port 80 --port 8000-8100'), { code: 0 });
  t.match(api.calls.at(-1), {
    name: 'policies.create',
    detail: {
      rules: [
        {
          ports: [
            { start: 80, end: 80 },
            { start: 8000, end: 8100 },
          ],
          bidirectional: false,
        },
      ],
    },
  });
  t.match(await api.cli('policy list'), { out: /web +true +people +hosts +tcp/ });
  t.match(await api.cli('policy create web --to hosts'), { code: 2, err: 'meshgate: --from is missing' });
  t.match(await api.cli('policy create x --from nope --to hosts'), { code: 1, err: /nothing has this name or id: nope/ });
  t.match(await api.cli('setup-key create laptops --reusable --limit 5 --expires 30d --group people'), { code: 0, out: /^[0-9A-F-]{36}$/ });
  t.match(api.calls.at(-1), { detail: { type: 'reusable', usageLimit: 5, expiresInSeconds: 30 * 86_400 } });
  t.match(await api.cli('setup-key create x --expires soon'), { code: 2, err: /--expires takes a duration/ });
  t.match(await api.cli('setup-key revoke laptops'), { code: 0 });
  t.match(await api.cli('setup-key list'), { out: /laptops +ABCD\*{4} +reusable +revoked/ });
  t.match(await api.cli('setup-key delete laptops'), { code: 0 });
  t.match(await api.cli(`peer rename ${web.ipv4} www`), { code: 0 });
  t.match(await api.cli('peer delete www'), { code: 0 });
  t.match(await api.cli('policy delete web'), { code: 0 });
  t.match(await api.cli('group delete hosts'), { code: 0 });
});

t.test('services, domains, clusters and gateway tokens', async (t) => {
  const api = await signedIn(t.teardown);
  api.addPeer('web');
  const create = 'service create app --domain app.proxy.test --peer web --port 3000';
  t.match(
    await api.cli(create),
    { code: 2, err: 'meshgate: say who may use it: one of --sso, --public and --private' },
    'public is never an accident',
  );
  t.match(await api.cli(`${create} --sso`), { code: 0, out: /made app \(s\d+\) at app\.proxy\.test/ });
  t.match(api.calls.at(-1), { detail: { auth: { oidc: { enabled: true } }, targets: [{ port: 3000, protocol: 'http', path: '/' }] } });
  t.match(await api.cli('service disable app'), { code: 0, out: 'app is disabled' });
  t.match(api.calls.at(-1), { detail: { enabled: false, auth: { oidc: { enabled: true } }, domain: 'app.proxy.test' } });
  t.match(await api.cli('service enable app.proxy.test'), { code: 0 });
  t.match(await api.cli('service list'), { out: /app +app\.proxy\.test +http +true +pending +- +- +no gateway yet/ });
  const file = join(t.testdir({}), 'service.json');
  await writeFile(file, JSON.stringify({ domain: 'x.proxy.test', mode: 'tls', listen_port: 443, targets: [] }));
  t.match(await api.cli(`service create x --file ${file}`), { code: 0 });
  api.addPeer('web2');
  t.match(await api.cli(`${create.replace('app', 'two').replace('app.', 'two.')} --peer web2 --public`), { code: 0 });
  t.match(api.calls.at(-1), { detail: { targets: [{ targetType: 'peer' }, { targetType: 'peer' }] } }, 'several peers share the load');
  t.match(await api.cli(`${create} --peer-group All --sso`), { code: 2, err: /either --peer or --peer-group/ });
  await writeFile(file, JSON.stringify({ pass_host_header: true, web: { compression: true } }));
  t.match(await api.cli(`service update two --file ${file}`), { code: 0, out: 'two is changed' });
  t.match(api.calls.at(-1), { detail: { passHostHeader: true, web: { compression: true }, domain: 'two.proxy.test', enabled: true } });
  const [pin, users] = [join(t.testdir({}), 'pin'), join(t.testdir({}), 'users')];
  await writeFile(pin, '482915\n');
  await writeFile(users, 'ann:p:ss\nbob:word\n');
  t.match(await api.cli(`service update app --pin-file ${pin} --proofs oidc+pin,token --devices`), { code: 0, out: 'app is changed' });
  const access = { proofs: [['oidc', 'pin'], ['token']], devices: true };
  t.match(api.calls.at(-1), { detail: { auth: { oidc: { enabled: true }, pin: { enabled: true, pin: '482915' } }, access } });
  t.match(await api.cli(`${create.replace('app', 'three').replace('app.', 'three.')} --basic-file ${users} --links`), { code: 0 });
  const basic = {
    enabled: true,
    users: [
      { name: 'ann', password: 'p:ss' },
      { name: 'bob', password: 'word' },
    ],
  };
  t.match(api.calls.at(-1), { detail: { auth: { oidc: { enabled: false }, basic, link: { enabled: true } } } });
  t.match(await api.cli(`${create} --public --pin-file ${pin}`), { code: 2 }, 'a secret for what is public is a mistake');
  t.match(await api.cli('service update app'), { code: 2, err: /say what to change/ });
  await writeFile(file, '{"password": "hunter2",,}');
  const broken = await api.cli(`service create x --file ${file}`);
  t.match(broken, { code: 1, err: /is not JSON \(/ });
  t.notMatch(broken.err, /hunter2/);
  t.match(await api.cli('service delete app'), { code: 0 });
  t.match(await api.cli('domain create apps.test proxy.test:8443'), { code: 0, out: /added apps\.test/ });
  t.match(await api.cli('certificate list'), {
    code: 0,
    out: /app\.edge\.test +failed .*order +2026-11-22T00:00:00\.000Z +edge\.test +no such host/,
  });
  t.match(await api.cli('domain validate apps.test'), { code: 0, out: 'apps.test is validated' });
  t.match(await api.cli('domain list'), { out: /apps\.test +custom +proxy\.test:8443 +true/ });
  t.match(await api.cli('domain delete apps.test'), { code: 0 });
  t.match(await api.cli('cluster list'), { out: /proxy\.test:8443 +true +2/ });
  t.match(await api.cli('proxy-token create edge --cluster apps.test'), { code: 0, out: 'nbx_edge' });
  t.match(await api.cli('proxy-token list'), { code: 0, out: /CLUSTER.*\n.*edge.*apps\.test/ });
  t.match(await api.cli('proxy-token delete edge'), { code: 0 });
});

t.test('events, and JSON for programs', async (t) => {
  const api = await signedIn(t.teardown);
  api.addAccess({ path: '/\u001b[2J', reason: 'group_not_allowed', status: 403 });
  t.match(await api.cli('events audit'), { out: /User created +ann@x\.test/ });
  const page = await api.cli('events proxy --status failed --source-ip 192.0.2.7 --size 10');
  t.match(page, { code: 0, out: /403 +GET +app\.test +\/\?\[2J/, err: 'page 1 of 1, 1 entries' });
  t.match(api.calls.at(-1), { detail: { outcome: 'failed', sourceIp: '192.0.2.7', pageSize: 10 } });
  t.match(JSON.parse((await api.cli('events proxy --json')).out), { total_records: 1 });
  t.match(await api.cli('events proxy --status maybe'), { code: 1, err: /422: status must be one of success, failed/ });
  t.match(JSON.parse((await api.cli('user list --json')).out), [{ email: 'owner@x.test' }]);
});

t.test('sessions are listed and ended, and settings of sign-in changed', async (t) => {
  const { cli, calls } = await signedIn(t.teardown);
  t.match(await cli('session list --own'), { code: 0, out: 'none' });
  t.match(calls.at(-1), { name: 'sessions.list' });
  t.match(await cli('session revoke s1'), { code: 0, out: 'ended s1' });
  t.match(calls.at(-1), { name: 'sessions.revoke', detail: { id: 's1', of: undefined } });
  t.match(await cli('settings set --session-lifetime 12h --session-idle 30m --second-factor on'), { code: 0, out: 'changed' });
  t.match(calls.at(-1), { detail: { sessionMaxAgeMs: 43_200_000, sessionIdleMs: 1_800_000, secondFactorRequired: true } });
  t.match(await cli('settings show'), { code: 0, out: /"session_lifetime": 43200/ });
  t.match(await cli('settings set --second-factor maybe'), { code: 2 });
  t.match(await cli('settings set'), { code: 2 });
  t.match(await cli('user create bob@x.test'), { code: 0 });
  t.match(await cli('user reset-factors bob@x.test'), { code: 0, out: 'bob@x.test has no second factor any more' });
  t.match(calls.at(-1), { name: 'factors.reset' });
});

t.test('services are shared by links, which are told once, listed and ended', async (t) => {
  const { cli, calls, addPeer } = await signedIn(t.teardown);
  addPeer('web');
  t.match(await cli('service create app --domain app.proxy.test --peer web --port 3000 --sso'), { code: 0 });
  const made = await cli('service share app --label Bob --expires 2h --uses 3 --host x.app.test');
  t.match(made, { code: 0, out: 'https://app.test:8443/.meshgate/link#code-of-the-link', err: /not shown again/ });
  t.match(calls.at(-1), { name: 'links.create', detail: { label: 'Bob', expiresInMs: 7_200_000, uses: 3, host: 'x.app.test' } });
  t.match(JSON.parse((await cli('service share app --json')).out), { label: 'share link', uses: 1, code: 'code-of-the-link' });
  t.match(calls.at(-1), { detail: { expiresInMs: 86_400_000, uses: 1, host: undefined } });
  const list = await cli('service links app');
  t.match(list, { code: 0, out: /ID +LABEL +USED +OF +EXPIRES +REVOKED\s+l1 +x +0 +1 / });
  t.notMatch(list.out, 'code-of-the-link');
  t.match(await cli('service unshare app l1'), { code: 0, out: 'ended l1' });
  t.match(calls.at(-1), { name: 'links.revoke', detail: { id: 'l1' } });
  for (const line of ['service share app --uses 0', 'service share app --expires 10s', 'service share none'])
    t.match(await cli(line), { code: 1 }, line);
  t.equal(calls.at(-1)?.name, 'links.revoke', 'nothing was made');
});

t.test('devices are listed and ended: one’s own, and by who manages users those of all', async (t) => {
  const { cli, calls, call, as } = await signedIn(t.teardown);
  t.match(await cli('device list'), { code: 0, out: /d1 +TV +bob@x\.test +app\.test/ });
  t.match(calls.at(-1), { name: 'devices.list', detail: undefined });
  t.match(await cli('device list --own'), { code: 0 });
  t.match(calls.at(-1), { name: 'devices.list', detail: as.owner.user.id });
  t.match(await cli('device revoke d1'), { code: 0, out: 'ended d1' });
  t.match(calls.at(-1), { name: 'devices.revoke', detail: { id: 'd1', of: undefined } });
  t.match(await call('GET', '/api/devices', as.user.token), { status: 200 });
  t.match(calls.at(-1), { name: 'devices.list', detail: as.user.user.id }, 'a user sees the own ones only');
  const before = calls.length;
  t.same((await call('GET', `/api/devices?user=${as.owner.user.id}`, as.user.token)).body, []);
  t.equal(calls.length, before, 'and asks for no others');
  t.match(await call('DELETE', '/api/devices/d1', as.user.token), { status: 200 });
  t.match(calls.at(-1), { name: 'devices.revoke', detail: { id: 'd1', of: as.user.user.id } });
  t.equal((await call('GET', '/api/devices?scope=some', as.user.token)).status, 422);
  t.equal((await call('GET', '/api/devices', undefined)).status, 401);
});

t.test('issuers are made, changed and deleted; the secret comes from a file and is never told', async (t) => {
  const { cli, calls, addPeer } = await signedIn(t.teardown);
  const dir = t.testdir({ secret: 'hush hush\n' });
  const create = `issuer create Corp --issuer https://corp.test --client-id mesh --email-domain corp.test --secret-file ${dir}/secret`;
  t.match(await cli(create), { code: 0, out: /^made Corp \(i1\); register the redirect URL there: .*\/oauth2\/connectors\/i1\/callback$/ });
  t.match(calls.at(-1), { name: 'issuers.create', detail: { clientSecret: 'hush hush', emailDomains: ['corp.test'], type: 'oidc' } });
  const list = await cli('issuer list --json');
  t.match(list.out, 'https://corp.test');
  t.notMatch(list.out, 'hush');
  t.match(await cli('issuer update Corp --trust-email --name New'), { code: 0, out: 'changed Corp' });
  t.match(calls.at(-1), { name: 'issuers.update', detail: { name: 'New', trustsEmail: true, clientSecret: undefined, emailDomains: ['corp.test'] } });
  addPeer('web');
  const service = 'service create app --domain app.proxy.test --peer web --port 3000 --sso --issuer New --issuer local';
  t.match(await cli(service), { code: 0 });
  t.match(calls.at(-1), { detail: { issuers: ['i1', 'local'], auth: { oidc: { enabled: true } } } });
  t.match(await cli('issuer delete New'), { code: 0, out: 'deleted New' });
});

t.test('TCP, TLS and UDP services have their ports, their TLS and their load by flags', async (t) => {
  const api = await signedIn(t.teardown);
  api.addPeer('web');
  const create = 'service create db --domain db.proxy.test --peer web --public';
  t.match(await api.cli(`${create} --mode tcp --listen-port 5000-5009,443 --port 7000 --balancing least_connections --sticky --check-every 5s`), {
    code: 0,
  });
  t.match(api.calls.at(-1), {
    detail: {
      listenPort: 5000,
      targets: [{ port: 7000, protocol: 'tcp' }],
      stream: {
        portRanges: [
          { start: 5000, end: 5009 },
          { start: 443, end: 443 },
        ],
        balancing: { strategy: 'least_connections', sticky: 'address' },
        healthCheck: { intervalMs: 5000 },
      },
    },
  });
  const tls = `${create} --mode tls --listen-port 8443 --terminate-tls --alpn postgresql --proxy-protocol --tell-tls`;
  t.match(await api.cli(tls), { code: 0 });
  t.match(api.calls.at(-1), {
    detail: { targets: [{ port: 8443, options: { proxyProtocol: true } }], stream: { termination: { alpn: ['postgresql'], tellTarget: true } } },
  });
  const limited = `${create} --mode udp --listen-port 53 --slow-start 30s --max-connections 1000 --max-per-address 5`;
  t.match(await api.cli(limited), { code: 0 });
  t.match(api.calls.at(-1), {
    detail: { stream: { slowStartMs: 30_000, limits: { maxConnections: 1_000, maxPerAddress: 5, maxPerIdentity: undefined } } },
  });
  t.match(await api.cli(`${create} --mode tcp --listen-port 53 --retry-on 503`), { code: 2, err: /--retry-on is for --mode http/ });
  t.match(await api.cli(`${create} --port 80 --max-connections 5`), { code: 2, err: /not for --mode http/ });
  t.match(await api.cli(`${create} --port 80 --retry-on 502 --retry-on 503 --slow-start 1m`), { code: 0 });
  t.match(api.calls.at(-1), { detail: { web: { retryOn: [502, 503], slowStartMs: 60_000 } } });
  t.match(await api.cli(`${create} --port 80 --retry-on 500`), { err: /502, 503, 504/ });
  t.match(await api.cli(`${create} --mode tcp --listen-port 5000-x`), { code: 2, err: /no port and no range/ });
});
