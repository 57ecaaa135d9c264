// Share links and paired devices, from the page to the upstream: with the control domain and the publisher of the product. Attack rows, L-2.
import t from 'tap';
import { startRecorder, until } from '../attacks/harness.ts';
import { path } from '../publish/harness.ts';
import { plainAccess } from '#model/access.ts';
import { asId, type ServiceId } from '#model/ids.ts';
import { addGatewayToken, addPeer, openDomain, serviceOf, system } from '../server/domain/support.ts';
import { hiddenOf, noAuth, openFrontDoor, Visitor, type FrontDoor } from '../support/front-door.ts';

const link = { enabled: true };
const oidc = { enabled: true, groups: [] };
const program = 'Accept: application/json';

async function share(door: FrontDoor, uses = 1, label = 'for Bob'): Promise<{ readonly id: string; readonly code: string }> {
  const { link: made, plain } = await door.domain.links.create(door.serviceId, { label, expiresInMs: 3_600_000, uses }, system);
  return { id: made.id, code: plain };
}

async function open(door: FrontDoor, code: string, visitor = new Visitor(door)): Promise<{ readonly visitor: Visitor; readonly status: number }> {
  const page = await visitor.ask('/.meshgate/link?to=%2Freport%3Fx%3D1');
  return { visitor, status: (await visitor.fill(page, 'link', code)).status };
}

void t.test('a share link opens the service once, by whoever sends its form', async (t) => {
  const door = await openFrontDoor(t, { link });
  const { code } = await share(door);
  const visitor = new Visitor(door);
  const page = await visitor.ask('/.meshgate/link?to=%2Freport%3Fx%3D1');
  t.match(page, { status: 200, text: /script-src 'sha256-[^']{44}'[^]*<script>const f=/ });
  for (let i = 0; i < 3; i++) await new Visitor(door).ask('/.meshgate/link');
  const right = await visitor.fill(page, 'link', `https://a.test/.meshgate/link#${code}`);
  t.match(right, { status: 303, location: 'https://a.test/report?x=1' }, 'who only looked has not used it up; all of a link may be pasted');
  t.equal((await visitor.ask('/report?x=1')).status, 200);
  t.match(door.recorder.requests[0], /X-Meshgate-User: link:[0-9a-v]{20}\r\n[^]*X-Meshgate-Name: for Bob\r\n/);
  t.match(door.fixture.entries.at(-1), { userId: /^link:/, authMethod: 'link' });
  t.notMatch(JSON.stringify(door.fixture.entries), code);
  t.equal((await open(door, code)).status, 401, 'it is used up');
  t.equal((await visitor.ask('/')).status, 200, 'and who came in stays');
  t.match(await door.domain.links.list(door.serviceId), [{ label: 'for Bob', uses: 1, used: 1 }]);
});

void t.test('a link says where it opens: the port of the gateways, and a name where the service has many', async (t) => {
  const { domain } = await openDomain();
  t.teardown(() => domain.close());
  const { id: tokenId } = (await addGatewayToken(domain)).token;
  await domain.clusters.proxyConnected({ proxyId: asId('gw'), tokenId, cluster: 'a.test', version: '1', publicPort: 8_443 });
  const { id: peerId } = (await domain.peers.self(await addPeer(domain, 'web'))).peer;
  const make = async (host: string): Promise<ServiceId> =>
    (await domain.services.create(serviceOf(peerId, { name: host, domain: host, auth: { ...noAuth, link } }), system)).id;
  const request = { label: 'x', expiresInMs: 60_000, uses: 1 };
  const one = await make('one.a.test');
  t.equal((await domain.links.create(one, request, system)).origin, 'https://one.a.test:8443');
  t.equal((await domain.links.create(one, { ...request, host: 'One.a.test' }, system)).origin, 'https://one.a.test:8443');
  await t.rejects(domain.links.create(one, { ...request, host: 'two.a.test' }, system), { code: 'DOMAIN_INVALID' });
  const many = await make('*.apps.a.test');
  t.equal((await domain.links.create(many, { ...request, host: 'x.apps.a.test' }, system)).origin, 'https://x.apps.a.test:8443');
  for (const host of [undefined, '*.apps.a.test', 'apps.a.test', 'a.b.apps.a.test', 'x.other.test'])
    await t.rejects(domain.links.create(many, { ...request, host }, system), { code: 'DOMAIN_INVALID' }, host ?? 'none');
  t.equal((await domain.links.list(many)).length, 1);
});

void t.test('of fifty clients that race for a link exactly as many get in as it allows', async (t) => {
  const door = await openFrontDoor(t, { link });
  for (const uses of [1, 3]) {
    const { code } = await share(door, uses);
    const statuses = await Promise.all(
      Array.from({ length: 50 }, async (_each, i) => (await open(door, code, new Visitor(door, `192.0.2.${i + 1}`))).status),
    );
    t.equal(statuses.filter((status) => status === 303).length, uses);
    t.equal(statuses.filter((status) => status === 401).length, 50 - uses);
  }
});

void t.test('a link ends by time, by hand, and with what it opened; it is good at its service only', async (t) => {
  const door = await openFrontDoor(t, { link, pin: { enabled: true, pin: '482915' } }, { proofs: [['link'], ['link', 'pin']] });
  const old = await share(door, 5);
  door.clock.advance(3_600_001);
  t.equal((await open(door, old.code)).status, 401, 'its time is over');
  const { id, code } = await share(door, 5);
  const other = await share(door, 5);
  const first = (await open(door, code)).visitor;
  const stays = (await open(door, other.code)).visitor;
  t.equal((await first.ask('/')).status, 200);
  const begun = performance.now();
  await door.domain.links.revoke(door.serviceId, id, system);
  t.equal((await first.ask('/')).status, 401);
  t.comment(`figure: a session of a link ended ${(performance.now() - begun).toFixed(0)} ms after the link`);
  t.equal((await open(door, code)).status, 401);
  t.equal((await stays.ask('/')).status, 200, 'those of another link stay');
  await door.update({ link: { enabled: false }, pin: { enabled: true, pin: '482915' } });
  t.equal((await new Visitor(door).ask('/.meshgate/link')).status, 404);
  await t.rejects(share(door), { code: 'DOMAIN_INVALID' });
});

async function signIn(door: FrontDoor): Promise<Visitor> {
  const visitor = new Visitor(door);
  const away = await visitor.ask('/.meshgate/login?to=%2F.meshgate%2Fdevices');
  const state = /state=(\S+)/.exec(away.location)?.[1] ?? '';
  const back = await visitor.ask(`/.meshgate/callback?code=${door.userId}&state=${state}`);
  if (back.location !== 'https://a.test/.meshgate/devices') throw new Error(back.text);
  return visitor;
}

async function pair(visitor: Visitor, name: string): Promise<string> {
  const page = await visitor.ask('/.meshgate/devices');
  const form = /<form[^]*?name="seal" value="([^"]*)"/.exec(page.text)?.[1] ?? '';
  const done = await visitor.ask('/.meshgate/devices', { form: { seal: form, name } });
  return /<pre>(nbd_\w{36})<\/pre>/.exec(done.text)?.[1] ?? done.text;
}

void t.test('a signed-in user pairs a device, which comes in by header, basic authentication or path', async (t) => {
  const door = await openFrontDoor(t, { oidc }, { devices: true });
  t.equal((await new Visitor(door).ask('/.meshgate/devices', { fields: [program] })).status, 401);
  const visitor = await signIn(door);
  const secret = await pair(visitor, 'Living room <TV>');
  t.match(secret, /^nbd_\w{36}$/);
  const list = await visitor.ask('/.meshgate/devices');
  t.match(list.text, /Remove Living room &#60;TV&#62;/);
  t.notMatch(list.text, secret, 'it is told once');
  t.equal(door.recorder.bytes(), 0, 'nothing of this concerns the upstream');
  const basic = Buffer.from(`anybody:${secret}`).toString('base64');
  const ways: readonly (readonly [string, readonly string[]])[] = [
    ['/x?q=1', [`X-Meshgate-Device: ${secret}`]],
    ['/x?q=1', [`Authorization: Basic ${basic}`]],
    [`/.meshgate/d/${secret}/x?q=1`, [`Referer: https://a.test/.meshgate/d/${secret}/before`]],
  ];
  for (const [target, fields] of ways) {
    door.recorder.clear();
    t.equal((await new Visitor(door).ask(target, { fields: [program, ...fields] })).status, 200, target.slice(0, 14));
    const [request = ''] = door.recorder.requests;
    t.match(request, /^GET \/x\?q=1 HTTP\/1\.1\r\n/);
    t.match(request, /X-Meshgate-Email: owner@example\.com\r\n/);
    t.notMatch(request, new RegExp(`${secret}|${basic}|meshgate/d/|X-Meshgate-Device`));
    t.match(door.fixture.entries.at(-1), { userId: door.userId, authMethod: 'device:Living room <TV>', path: '/x' });
  }
  t.notMatch(JSON.stringify(door.fixture.entries), secret);
  for (const target of [`/.meshgate/d/${secret.slice(0, -1)}/x`, '/.meshgate/d//x', `/.meshgate/d/${secret}x/x`, '/.meshgate/d/../x'])
    t.equal((await new Visitor(door).ask(target, { fields: [program] })).status, 401, target.slice(-8));
  t.equal((await new Visitor(door).ask(`/.meshgate/d/${secret}/x`, { fields: [program, 'X-Meshgate-Device: other'] })).status, 401);
});

void t.test('who comes by a device’s path stays there where the application sends them on, and takes the secret nowhere else', async (t) => {
  const door = await openFrontDoor(t, { oidc }, { devices: true });
  const secret = await pair(await signIn(door), 'TV');
  const prefix = `/.meshgate/d/${secret}`;
  const sends: readonly (readonly [string, string])[] = [
    ['/home?q=1#f', `${prefix}/home?q=1#f`],
    ['https://a.test/home', `https://a.test${prefix}/home`],
    ['https://A.test', `https://a.test${prefix}/`],
    ['//a.test/home', `https://a.test${prefix}/home`],
    ['next', 'next'],
    ['../../../up?x', `${prefix}/up?x`],
    ['../up', `${prefix}/up`],
    ['?page=2', '?page=2'],
    ['http://a.test/home', 'http://a.test/home'],
    ['https://other.test/home', 'https://other.test/home'],
    ['https://a.test.evil.test/', 'https://a.test.evil.test/'],
    ['https://a.test@evil.test/', 'https://a.test@evil.test/'],
    ['//evil.test/x', '//evil.test/x'],
    ['/\\\\evil.test/x', '/\\\\evil.test/x'],
    ['\\\\evil.test', '\\\\evil.test'],
    ['/\t/evil.test', `${prefix}/\t/evil.test`],
    ['javascript:alert(1)', 'javascript:alert(1)'],
  ];
  let location = '';
  const app = await startRecorder(t, () => `HTTP/1.1 302 Found\r\nLocation: ${location}\r\nRefresh: 5; url=${location}\r\nContent-Length: 0\r\n\r\n`);
  const mapping = await door.domain.services.mapping(door.serviceId, 'a.test');
  if (mapping === undefined) throw new TypeError('no mapping');
  door.fixture.setRoutes([{ ...mapping, paths: [path(app.port)] }]);
  for (const [sent, seen] of sends) {
    location = sent;
    const there = await new Visitor(door).ask(`${prefix}/a/b`, { fields: [program] });
    t.match(there, { status: 302, location: seen }, sent);
    t.match(there.text, `\r\nRefresh: 5; url=${seen}\r\n`, sent);
    const byHeader = await new Visitor(door).ask('/a/b', { fields: [program, `X-Meshgate-Device: ${secret}`] });
    t.match(byHeader, { status: 302, location: sent }, 'others as it was');
    t.notMatch(app.requests.join(''), secret);
  }
});

void t.test('a device ends with its revocation, its user and its service', async (t) => {
  const door = await openFrontDoor(t, { oidc }, { devices: true });
  const visitor = await signIn(door);
  const uses = async (secret: string): Promise<number> =>
    (await new Visitor(door).ask('/x', { fields: [program, `X-Meshgate-Device: ${secret}`] })).status;
  const secret = await pair(visitor, 'phone');
  t.equal(await uses(secret), 200);
  const socket = await door.fixture.connect('a.test');
  socket.resume();
  door.recorder.clear();
  socket.write(
    `POST /slow HTTP/1.1\r\nHost: a.test\r\nX-Meshgate-Device: ${secret}\r\nX-Forwarded-For: 192.0.2.9\r\nContent-Length: 100\r\n\r\npart`,
  );
  t.ok(await until(() => door.recorder.bytes() > 100));
  const closed = new Promise((resolve) => socket.once('close', resolve));
  const begun = performance.now();
  const list = await visitor.ask('/.meshgate/devices');
  const form = hiddenOf(list, (await door.domain.devices.list(door.userId))[0]?.id ?? '');
  t.equal((await visitor.ask('/.meshgate/devices', { form })).status, 303);
  await closed;
  const ms = performance.now() - begun;
  t.comment(`figure: what a device had open was cut ${ms.toFixed(0)} ms after its user began to remove it`);
  t.ok(ms < 1_000);
  t.equal(await uses(secret), 401);

  const second = await pair(visitor, 'phone again');
  t.equal(await uses(second), 200);
  const user = (
    await door.domain.users.create(
      { email: 'u@example.com', name: 'U', role: 'owner', autoGroups: [], service: false, password: 'long enough' },
      system,
    )
  ).user.id;
  t.equal((await door.domain.devices.list(user)).length, 0, 'devices are their user’s');
  await t.rejects(door.domain.devices.revoke((await door.domain.devices.list(undefined))[0]?.id ?? '', user, system), { code: 'DOMAIN_NOT_FOUND' });
  await door.domain.users.update(door.userId, { blocked: true }, system);
  t.equal(await uses(second), 401, 'a blocked user');
  await door.domain.users.update(door.userId, { blocked: false }, system);
  // Gateways believe a no for five seconds, so the control plane is asked.
  const judged = () =>
    door.authority.verifyCredential(
      { kind: 'device', name: '', secret: second, serviceId: door.serviceId, address: '192.0.2.1' },
      AbortSignal.timeout(5_000),
    );
  t.match(await judged(), { kind: 'valid' });
  const group = await door.domain.groups.create({ name: 'staff', peers: [] }, system);
  await door.update({ oidc: { enabled: true, groups: [group.id] } }, { devices: true });
  t.match(await judged(), { kind: 'denied', why: 'group_not_allowed' }, 'a user outside the group');
  await door.update({ oidc });
  t.match(await judged(), { kind: 'denied', why: 'wrong' }, 'a service that pairs no devices any more');
  t.equal((await new Visitor(door).ask(`/.meshgate/d/${second}/x`, { fields: [program] })).status, 401);
  t.notMatch(JSON.stringify(door.fixture.entries), second);
});

void t.test('a link and a device are worth nothing at another service', async (t) => {
  const door = await openFrontDoor(t, { oidc, link }, { devices: true });
  const input = serviceOf(door.peerId, { name: 'other', domain: 'other.a.test', access: { ...plainAccess, devices: true } });
  const other = (await door.domain.services.create({ ...input, auth: { ...input.auth, link } }, system)).id;
  const { code } = await share(door, 5);
  const attempt = { kind: 'link', secret: code, sessionId: undefined, knownBrowser: undefined, address: '192.0.2.1', userAgent: '' } as const;
  t.match(await door.domain.proofs.prove({ ...attempt, serviceId: other }, 'a.test'), { kind: 'refused', why: 'wrong' });
  const secret = await pair(await signIn(door), 'TV');
  const device = { kind: 'device', name: '', secret, address: '192.0.2.1' } as const;
  t.match(await door.domain.proofs.verify({ ...device, serviceId: other }, 'a.test'), { kind: 'denied', why: 'wrong' });
  t.match(await door.domain.proofs.verify({ ...device, serviceId: door.serviceId }, 'a.test'), { kind: 'valid', identity: { device: 'TV' } });
  t.match(
    await door.domain.proofs.verify({ ...device, serviceId: door.serviceId }, 'b.test'),
    { kind: 'denied' },
    'nor to a gateway of another cluster',
  );
});

void t.test('who has proven half of what is asked for pairs nothing', async (t) => {
  const door = await openFrontDoor(t, { oidc, pin: { enabled: true, pin: '482915' } }, { devices: true, proofs: [['oidc', 'pin']] });
  const visitor = new Visitor(door);
  const away = await visitor.ask('/.meshgate/login?to=%2F');
  await visitor.ask(`/.meshgate/callback?code=${door.userId}&state=${/state=(\S+)/.exec(away.location)?.[1] ?? ''}`);
  const page = await visitor.ask('/.meshgate/devices');
  t.match(page, { status: 401, text: /value="pin"/ });
  const seal = hiddenOf(page, 'pin')['seal'] ?? '';
  t.equal((await visitor.ask('/.meshgate/devices', { form: { seal, name: 'TV' } })).status, 401);
  t.same(await door.domain.devices.list(undefined), []);
  t.equal((await visitor.fill(page, 'pin', '482915')).location, 'https://a.test/.meshgate/devices');
  t.match(await pair(visitor, 'TV'), /^nbd_/);
});
