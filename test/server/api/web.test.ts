// Our own part of a service at the API: it is answered in the form in which it may be sent again, keys are never told, and what would be
// read in two ways is refused with the reason.
import { randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import { asId, type ServiceId } from '#model/ids.ts';
import { createTestCa } from '../../support/test-ca.ts';
import { openApi, type Json } from './real-api.ts';

const services = '/reverse-proxies/services';

async function open(t: Test) {
  const api = await openApi(t);
  const code = await api.domain.users.setupCode();
  const owner = await api.call('POST', '/setup', { email: 'me@x.test', password: 'correct horse battery', name: 'Me', create_pat: true, code });
  api.signIn(owner.body['personal_access_token']);
  const peer = async (name: string): Promise<string> => {
    const key = await api.call('POST', '/setup-keys', { name, type: 'one-off', expires_in: 86_400, auto_groups: [] });
    const meta = { hostname: name, os: 'linux', osVersion: '13', kernel: '6', platform: 'x64', version: '1', uiVersion: '', ipv6: true };
    const publicKey = asId<Parameters<typeof api.domain.peers.self>[0]>(randomBytes(32).toString('base64'));
    return (await api.domain.peers.login({ publicKey, meta, setupKey: String(key.body['key']), userId: undefined })).peer.id;
  };
  const { token } = await api.domain.tokens.createProxy({ name: 't', expiresInSeconds: 0, cluster: undefined }, { kind: 'system' });
  await api.domain.clusters.proxyConnected({ proxyId: asId('proxy-1'), tokenId: token.id, cluster: 'apps.test', version: '1' });
  const peers = [await peer('one'), await peer('two')];
  const request = (more: Json, options: Json = {}): Json => ({
    name: 'app',
    domain: 'app.apps.test',
    targets: peers.map((id, index) => ({
      target_id: id,
      target_type: 'peer',
      protocol: 'https',
      port: 3000,
      path: '/x',
      options: { ...options, weight: index + 1 },
    })),
    ...more,
  });
  return { ...api, peers, request };
}

const web = {
  request_headers: { remove: ['X-Old'], set: { 'X-Set': 'a' }, add: { 'X-Add': 'b' } },
  response_headers: { remove: ['Server'], set: { 'Strict-Transport-Security': 'max-age=1' }, add: {} },
  rewrite_cookies: true,
  compression: true,
  answers: [
    { path: '/robots.txt', exact: true, methods: ['GET'], headers: [], respond: { status: 200, content_type: 'text/plain', body: 'x' } },
    { path: '/old', exact: false, methods: [], headers: [], redirect: { status: 308, location: '/new', keep_path: true } },
  ],
  balancing: { strategy: 'least_requests', sticky: 'cookie' },
  health_check: { path: '/health', interval: '5s', timeout: '1s', healthy_after: 2, unhealthy_after: 3, status_from: 200, status_to: 299 },
  ejection: { failures: 3, for: '10s' },
  retries: 2,
  retry_on: [503],
  slow_start: '20s',
  limits: { max_body_bytes: 10, answer_timeout: '1s', idle_timeout: '2s', max_concurrent: 5 },
};

void t.test('what is answered may be sent again and changes nothing; the key stays and is never told', async (t) => {
  const { domain, call, request } = await open(t);
  const ca = await createTestCa();
  const { certPem, keyPem } = await ca.issue(['gateway.test']);
  const options = {
    path_rewrite: { replace: '/v2' },
    match: { exact: false, methods: ['POST', 'GET'], headers: [{ name: 'X-A', value: 'b' }] },
    http_version: 'h2',
    tls: { ca: ca.caPem, server_name: 'Inside.Test', client_certificate: certPem, client_key: keyPem },
  };
  const made = await call('POST', services, request({ web }, options));
  t.equal(made.status, 200, JSON.stringify(made.body));
  t.same(made.body['web'], web);
  t.match(made.body['targets'], [
    { options: { match: { methods: ['GET', 'POST'], headers: [{ name: 'x-a' }] }, tls: { server_name: 'inside.test', client_key: '' } } },
  ]);
  t.notMatch(JSON.stringify(made.body), keyPem.split('\n')[1] ?? '', 'no key');
  const id = asId<ServiceId>(String(made.body['id']));
  const keyAt = async (): Promise<unknown> => (await domain.services.mapping(id, 'apps.test'))?.paths[0]?.options.tls.clientKey;
  t.equal(await keyAt(), keyPem, 'a gateway gets it');
  const put = await call('PUT', `${services}/${id}`, made.body);
  t.equal(put.status, 200, JSON.stringify(put.body));
  t.same({ ...put.body, meta: 0 }, { ...made.body, meta: 0 });
  t.equal(await keyAt(), keyPem);
  t.equal((await call('DELETE', `${services}/${id}`)).status, 200);
});

void t.test('targets of one path share its load; a group stands for its peers', async (t) => {
  const { domain, call, request, peers } = await open(t);
  const made = await call('POST', services, request({}));
  const mapping = await domain.services.mapping(asId(String(made.body['id'])), 'apps.test');
  t.match(mapping?.paths, [{ path: '/x', targets: [{ weight: 1 }, { weight: 2 }] }]);
  t.equal(mapping?.paths.length, 1);
  await call('DELETE', `${services}/${String(made.body['id'])}`);
  const group = await call('POST', '/groups', { name: 'web', peers });
  const target = { target_id: group.body['id'], target_type: 'group', protocol: 'http', port: 80 };
  const grouped = await call('POST', services, { name: 'g', domain: 'g.apps.test', targets: [target] });
  t.equal(grouped.status, 200, JSON.stringify(grouped.body));
  t.equal((await domain.services.mapping(asId(String(grouped.body['id'])), 'apps.test'))?.paths[0]?.targets.length, 2);
  t.match(await call('POST', services, { name: 'h', domain: 'h.apps.test', targets: [{ ...target, target_id: 'none' }] }), { status: 422 });
});

void t.test('what makes no sense is refused with the reason', async (t) => {
  const { call, request } = await open(t);
  const { certPem } = await (await createTestCa()).issue(['a.test']);
  const { keyPem } = await (await createTestCa()).issue(['b.test']);
  const bad: readonly (readonly [string, Json, RegExp])[] = [
    ['a reserved header', request({ web: { request_headers: { set: { Host: 'x' } } } }), /set by the gateway/],
    ['an identity header', request({ web: { request_headers: { remove: ['X-Meshgate-User'] } } }), /set by the gateway/],
    ['a cookie of the target', request({ web: { response_headers: { add: { 'Set-Cookie': 'a=b' } } } }), /set by the gateway/],
    ['a line break', request({ web: { response_headers: { set: { 'X-A': 'a\r\nB: c' } } } }), /line break/],
    ['an answer that is nothing', request({ web: { answers: [{ path: '/a' }] } }), /either respond or redirect/],
    ['a redirect to another scheme', request({ web: { answers: [{ path: '/a', redirect: { location: 'javascript:x' } }] } }), /redirect leads/],
    ['a redirect to nobody', request({ web: { answers: [{ path: '/a', redirect: { location: '//evil.test' } }] } }), /redirect leads/],
    ['two answers for the same', request({ web: { answers: [1, 2].map((n) => ({ path: '/a', respond: { body: String(n) } })) } }), /same requests/],
    ['an answer in a target’s place', request({ web: { answers: [{ path: '/x', respond: {} }] } }), /same requests as a target/],
    ['CONNECT', request({}, { match: { methods: ['CONNECT'] } }), /never served/],
    ['a key of another certificate', request({}, { tls: { client_certificate: certPem, client_key: keyPem } }), /not the one/],
    ['a certificate without a key', request({}, { tls: { client_certificate: certPem } }), /needs its key/],
    ['an authority that is none', request({}, { tls: { ca: 'x' } }), /PEM/],
    ['a health check slower than its interval', request({ web: { health_check: { interval: '1s', timeout: '2s' } } }), /at most its interval/],
    ['an unknown field', request({ web: { compresion: true } }), /did you mean compression/],
    ['web options of a tcp service', { ...request({ web: { compression: true } }), mode: 'tcp', listen_port: 1234, targets: [] }, /tcp/],
    ['nothing at all', { name: 'n', domain: 'n.apps.test', targets: [] }, /needs a target/],
  ];
  for (const [what, body, message] of bad) {
    const answer = await call('POST', services, body);
    t.ok(answer.status === 422 || answer.status === 400, `${what}: ${answer.status}`);
    t.match(answer.body, { message }, what);
  }
});
