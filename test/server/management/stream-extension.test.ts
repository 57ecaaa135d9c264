// A TCP, TLS or UDP service as our own control plane describes it to our own gateways: what goes in comes out, what is not known is not used,
// and nothing is sent to a gateway that would serve it otherwise.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import t from 'tap';
import { mappingFrom } from '#control/translate-proxy.ts';
import { plainAccess, signInProofs } from '#model/access.ts';
import { asId, type AccountId, type ServiceId } from '#model/ids.ts';
import { defaultTargetOptions, noRestrictions, type ServiceMapping } from '#model/service.ts';
import { defaultStream, type StreamOptions } from '#model/stream.ts';
import { defaultWeb } from '#model/web.ts';
import { mappingOf } from '#server/management/translate-proxy.ts';
import { needsStreamExtension } from '#server/management/translate-stream.ts';
import { type ProxyMapping, ProxyMappingSchema } from '#wire/proto/gen/proxy_service_pb.ts';
import type { StreamExtension } from '#wire/proto/gen/meshgate_stream_pb.ts';

const full: StreamOptions = {
  portRanges: [
    { start: 5000, end: 5010, target: undefined },
    { start: 6000, end: 6000, target: 80 },
  ],
  termination: { alpn: ['postgresql'], clientCertificate: { ca: 'pem', required: true, account: true }, tellTarget: true },
  balancing: { strategy: 'least_connections', sticky: 'address' },
  healthCheck: { intervalMs: 5000, timeoutMs: 1000, healthyAfter: 2, unhealthyAfter: 3 },
  ejection: { failures: 3, ejectMs: 10_000 },
  slowStartMs: 30_000,
  limits: { maxConnections: 10, maxPerAddress: 5, maxPerIdentity: 3 },
  certificates: defaultStream.certificates,
};

function service(stream: StreamOptions = defaultStream, change: Partial<ServiceMapping> = {}): ServiceMapping {
  return {
    id: asId<ServiceId>('s'),
    accountId: asId<AccountId>('a'),
    domain: 'app.test',
    mode: 'tls',
    listenPort: 5000,
    paths: [
      {
        path: '/',
        targets: [
          { protocol: 'tls', host: '100.64.0.1', port: 8443, basePath: '', weight: 3 },
          { protocol: 'tls', host: 'db.internal', port: 443, basePath: '', weight: 0 },
        ],
        options: {
          ...defaultTargetOptions,
          proxyProtocol: true,
          requestTimeoutMs: 3000,
          sessionIdleTimeoutMs: 4000,
          skipTlsVerify: true,
          tls: { ca: 'ca', serverName: 'name', clientCertificate: 'certificate', clientKey: 'key' },
        },
      },
    ],
    access: { ...plainAccess, proofs: signInProofs },
    passHostHeader: false,
    rewriteRedirects: false,
    restrictions: noRestrictions,
    private: false,
    web: defaultWeb,
    stream,
    authToken: '',
    ...change,
  };
}

function sent(mapping: ServiceMapping, knows = true): ProxyMapping {
  return fromBinary(
    ProxyMappingSchema,
    toBinary(ProxyMappingSchema, create(ProxyMappingSchema, mappingOf(mapping, true, { web: true, access: true, stream: knows }))),
  );
}

void t.test('every part arrives as it was meant', async (t) => {
  t.same(mappingFrom(sent(service(full))), service(full));
  t.same(mappingFrom(sent(service())), service());
  const plain = {
    mode: 'udp',
    paths: [
      { ...service().paths[0], targets: [{ protocol: 'udp', host: '100.64.0.1', port: 53, basePath: '', weight: 1 }], options: defaultTargetOptions },
    ],
  };
  t.same(mappingFrom(sent(service(defaultStream, plain as Partial<ServiceMapping>))), service(defaultStream, plain as Partial<ServiceMapping>));
});

void t.test('what is not known makes the service unusable', async (t) => {
  const broken = (change: (stream: StreamExtension) => void): unknown => {
    const message = sent(service(full));
    if (message.stream === undefined) throw new TypeError('no extension');
    change(message.stream);
    return mappingFrom(message);
  };
  const unknown = [{ no: 99, wireType: 0, data: new Uint8Array([1]) }];
  t.match(
    broken((stream) => void (stream.version = 99)),
    { unusable: /version 99/ },
  );
  t.match(
    broken((stream) => void (stream.balancing = 'best')),
    { unusable: /sharing/ },
  );
  t.match(
    broken((stream) => void (stream.sticky = 'cookie')),
    { unusable: /sharing/ },
  );
  t.match(
    broken((stream) => void (stream.proxyProtocol = 3)),
    { unusable: /PROXY/ },
  );
  t.match(
    broken((stream) => void ((stream.targets[0] ?? { port: 0 }).port = 0)),
    { unusable: /target/ },
  );
  t.match(
    broken((stream) => void ((stream.portRanges[0] ?? { end: 0 }).end = 70_000)),
    { unusable: /ports/ },
  );
  t.match(
    broken((stream) => void ((stream.portRanges[0] ?? { end: 0 }).end = 6024)),
    { unusable: /ports/ },
    'too many',
  );
  t.match(
    broken((stream) => void ((stream.portRanges[1] ?? { end: 0 }).end = 5999)),
    { unusable: /ports/ },
  );
  t.match(
    broken((stream) => void (stream.$unknown = unknown)),
    { unusable: /says more/ },
  );
  t.match(
    broken((stream) => void Object.assign(stream.termination ?? {}, { $unknown: unknown })),
    { unusable: /says more/ },
  );
  t.match(
    broken((stream) => void Object.assign(stream.termination?.clientCertificates ?? {}, { $unknown: unknown })),
    { unusable: /says more/ },
  );
});

void t.test('only what a stock gateway serves as it is meant needs no extension', async (t) => {
  const tcp = {
    mode: 'tcp',
    paths: [{ path: '/', targets: [{ protocol: 'tcp', host: 'h', port: 1, basePath: '', weight: 1 }], options: defaultTargetOptions }],
  } as const;
  t.equal(needsStreamExtension(service(defaultStream, tcp)), false);
  t.equal(
    needsStreamExtension(service({ ...full, portRanges: [], termination: undefined, limits: defaultStream.limits }, tcp)),
    false,
    'load and health',
  );
  for (const key of ['portRanges', 'termination', 'limits'] as const)
    t.equal(needsStreamExtension(service({ ...defaultStream, [key]: full[key] }, tcp)), true, key);
  t.equal(needsStreamExtension(service()), true, 'TLS to the target');
  t.equal(needsStreamExtension(service(defaultStream, { ...tcp, mode: 'tls', domain: '*.app.test' })), true, 'a wildcard');
  t.match(sent(service(defaultStream, tcp), false), { path: [{ target: 'h:1' }], stream: undefined });
});
