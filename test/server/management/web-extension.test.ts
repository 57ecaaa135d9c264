// A web service as our own control plane describes it to our own gateways: what goes in comes out, and nothing is sent to a gateway that
// would serve it otherwise.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import t from 'tap';
import { mappingFrom } from '#control/translate-proxy.ts';
import { asId, type AccountId, type ServiceId } from '#model/ids.ts';
import { defaultTargetOptions, noRestrictions, type ServiceMapping, type TargetOptions } from '#model/service.ts';
import { defaultStream } from '#model/stream.ts';
import { defaultWeb, type WebOptions } from '#model/web.ts';
import { mappingOf } from '#server/management/translate-proxy.ts';
import { needsWebExtension } from '#server/management/translate-web.ts';
import { type ProxyMapping, ProxyMappingSchema } from '#wire/proto/gen/proxy_service_pb.ts';
import { plainAccess, signInProofs } from '#model/access.ts';

const full: WebOptions = {
  requestHeaders: { remove: ['X-Old'], set: { 'X-Set': 'a' }, add: { 'X-Add': 'b' } },
  responseHeaders: { remove: ['Server'], set: { 'Strict-Transport-Security': 'max-age=1' }, add: {} },
  rewriteCookies: true,
  compression: true,
  answers: [
    {
      path: '/robots.txt',
      match: { exact: true, methods: ['GET'], headers: [] },
      answer: { kind: 'respond', status: 200, contentType: 'text/plain', body: 'x' },
    },
    { path: '/old', match: defaultTargetOptions.match, answer: { kind: 'redirect', status: 308, location: '/new', keepPath: true } },
  ],
  balancing: { strategy: 'least_requests', sticky: 'cookie' },
  healthCheck: { path: '/health', intervalMs: 5000, timeoutMs: 1000, healthyAfter: 2, unhealthyAfter: 3, statuses: [200, 299] },
  ejection: { failures: 3, ejectMs: 10_000 },
  retries: 2,
  retryOn: [502, 504],
  slowStartMs: 20_000,
  limits: { maxBodyBytes: 10, answerMs: 1000, idleMs: 2000, maxConcurrent: 5 },
  clientCertificate: { ca: 'pem', required: true },
};

function service(options: Partial<TargetOptions> = {}, web: WebOptions = defaultWeb): ServiceMapping {
  return {
    id: asId<ServiceId>('s'),
    accountId: asId<AccountId>('a'),
    domain: 'app.test',
    mode: 'http',
    listenPort: undefined,
    paths: [
      {
        path: '/x',
        targets: [
          { protocol: 'https', host: '100.64.0.1', port: 8443, basePath: '', weight: 3 },
          { protocol: 'https', host: 'fd00::1', port: 443, basePath: '', weight: 1 },
        ],
        options: { ...defaultTargetOptions, ...options },
      },
    ],
    access: { ...plainAccess, proofs: signInProofs },
    passHostHeader: true,
    rewriteRedirects: false,
    restrictions: noRestrictions,
    private: false,
    web,
    stream: defaultStream,
    authToken: '',
  };
}

function sent(mapping: ServiceMapping, known = true): ProxyMapping {
  return fromBinary(
    ProxyMappingSchema,
    toBinary(ProxyMappingSchema, create(ProxyMappingSchema, mappingOf(mapping, true, { web: known, access: known, stream: false }))),
  );
}

void t.test('every part arrives as it was meant', async (t) => {
  const rewrites: readonly TargetOptions['pathRewrite'][] = [
    'strip',
    'preserve',
    { kind: 'replace', prefix: '/v2' },
    { kind: 'regex', pattern: '^/a', replacement: '/b' },
  ];
  for (const pathRewrite of rewrites) {
    const mapping = service(
      {
        pathRewrite,
        match: {
          exact: true,
          methods: ['GET', 'POST'],
          headers: [
            { name: 'x-a', value: 'b' },
            { name: 'x-c', value: undefined },
          ],
        },
        customHeaders: { 'X-Key': 'k' },
        requestTimeoutMs: 1500,
        skipTlsVerify: true,
        httpVersion: 'h2',
        proxyProtocol: true,
        proxyProtocolVersion: 1,
        tls: { ca: 'CA', serverName: 'inside.test', clientCertificate: 'C', clientKey: 'K' },
      },
      full,
    );
    t.same(mappingFrom(sent(mapping)), mapping, JSON.stringify(pathRewrite));
  }
  t.same(mappingFrom(sent(service())), service());
});

void t.test('what a gateway does not know makes the service unusable, never wider', async (t) => {
  const broken = (change: (message: ProxyMapping) => void): unknown => {
    const message = sent(service({}, full));
    change(message);
    return mappingFrom(message);
  };
  const web = ({ web }: ProxyMapping): NonNullable<ProxyMapping['web']> => {
    if (web === undefined) throw new TypeError('no extension');
    return web;
  };
  t.match(
    broken((message) => void (web(message).version = 99)),
    { unusable: /version 99/ },
  );
  t.match(
    broken((message) => void (web(message).balancing = 'best')),
    { unusable: /load/ },
  );
  t.match(
    broken((message) => web(message).routes.forEach((route) => (route.action = { case: undefined }))),
    { unusable: /route/ },
  );
  t.match(
    broken((message) => web(message).routes.forEach((route) => (route.path = 'x'))),
    { unusable: /route/ },
  );
});

void t.test('only what a stock gateway serves as it is meant needs no extension', async (t) => {
  t.equal(needsWebExtension(service()), false);
  t.equal(needsWebExtension(service({ pathRewrite: 'preserve', weight: 5 }, { ...defaultWeb, retries: 5, healthCheck: full.healthCheck })), false);
  for (const options of [{ httpVersion: 'h2' }, { pathRewrite: { kind: 'replace', prefix: '/' } }, { proxyProtocol: true }] as const) {
    t.equal(needsWebExtension(service(options)), true, JSON.stringify(options));
  }
  t.equal(needsWebExtension(service({ match: { exact: true, methods: [], headers: [] } })), true);
  t.equal(needsWebExtension(service({ tls: { ...defaultTargetOptions.tls, ca: 'x' } })), true);
  for (const key of ['requestHeaders', 'responseHeaders', 'rewriteCookies', 'answers', 'limits', 'clientCertificate'] as const) {
    t.equal(needsWebExtension(service({}, { ...defaultWeb, [key]: full[key] })), true, key);
  }
  t.match(sent(service(), false), { path: [{ target: 'https://100.64.0.1:8443' }], web: undefined }, 'the first target');
});
