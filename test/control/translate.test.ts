// Messages from outside never crash us, and never publish or grant what they do not clearly say.
import { create } from '@bufbuild/protobuf';
import t from 'tap';
import { endpointsAfter } from '#control/translate.ts';
import { mappingFrom, sessionFrom } from '#control/translate-proxy.ts';
import { bodyOf, signalFrom } from '#control/translate-signal.ts';
import { silentLogger } from '#lib/log.ts';
import type { SignalMessage } from '#model/signal.ts';
import { SessionSchema } from '#wire/proto/gen/meshgate_pb.ts';
import { NetbirdConfigSchema } from '#wire/proto/gen/management_pb.ts';
import { ProxyMappingSchema } from '#wire/proto/gen/proxy_service_pb.ts';
import { Body_Type, BodySchema } from '#wire/proto/gen/signalexchange_pb.ts';

void t.test('signal messages come back as they were', async (t) => {
  const offer = {
    ice: { ufrag: 'u', pwd: 'p', sessionId: Uint8Array.of(1, 2, 3, 4, 5) },
    wgListenPort: 51_820,
    version: '0.1.0',
    relayAddress: 'rels://r',
  };
  const all: readonly SignalMessage[] = [
    { kind: 'offer', offer },
    { kind: 'answer', offer: { ...offer, ice: undefined, relayAddress: undefined } },
    { kind: 'candidate', text: 'candidate:1 1 udp 1 192.0.2.1 5 typ host' },
    { kind: 'go-idle' },
  ];
  for (const message of all) t.same(signalFrom(create(BodySchema, bodyOf(message))), message);
  t.equal(create(BodySchema, bodyOf({ kind: 'offer', offer: { ...offer, ice: undefined } })).payload, ':');
  t.not(create(BodySchema, bodyOf({ kind: 'offer', offer })).rosenpassConfig, undefined, 'stock clients expect it');
});

void t.test('signal messages that make no sense are none', async (t) => {
  const parse = (body: Parameters<typeof create<typeof BodySchema>>[1]): unknown => signalFrom(create(BodySchema, body));
  for (const payload of ['', 'a', 'a:b:c']) t.equal(parse({ type: Body_Type.OFFER, payload }), undefined);
  t.equal(parse({ type: Body_Type.CANDIDATE, payload: 'x'.repeat(2000) }), undefined);
  t.equal(parse({ type: Body_Type.CANDIDATE }), undefined);
  for (const type of [Body_Type.MODE, Body_Type.HEARTBEAT, 77 as Body_Type]) t.equal(parse({ type, payload: 'a:b' }), undefined);
  t.match(parse({ type: Body_Type.OFFER, payload: 'a:b', wgListenPort: 99_999, sessionId: new Uint8Array(4) }), {
    offer: { wgListenPort: 0, ice: { sessionId: undefined } },
  });
});

void t.test('mappings that cannot be read whole are not published', async (t) => {
  const base = { id: 's', accountId: 'a', domain: 'A.Test.', mode: 'http', path: [{ path: '/', target: 'http://100.92.0.2' }] };
  const parse = (change: object): unknown => mappingFrom(create(ProxyMappingSchema, { ...base, ...change }));
  t.match(parse({}), {
    domain: 'a.test',
    paths: [{ targets: [{ protocol: 'http', port: 80, basePath: '' }] }],
    access: { proofs: [], session: { maxAgeMs: 86_400_000 } },
  });
  t.match(parse({ mode: '' }), { mode: 'http' }, 'older control planes');
  for (const target of ['', 'ftp://x', 'http://', 'javascript:alert(1)', '100.92.0.2:80'])
    t.match(parse({ path: [{ path: '/', target }] }), { unusable: /target/ });
  for (const mode of ['tcp', 'udp', 'tls']) {
    t.match(parse({ mode, path: [{ target: '[fd00::2]:53' }] }), {
      paths: [{ targets: [{ protocol: mode === 'udp' ? 'udp' : 'tcp', host: 'fd00::2', port: 53 }] }],
    });
    t.match(parse({ mode, path: [{ target: 'http://x' }] }), { unusable: /target/ });
  }
  t.match(parse({ mode: 'quic' }), { unusable: /mode/ });
  t.match(parse({ domain: '' }), { unusable: /domain/ });
  t.match(parse({ accessRestrictions: { crowdsecMode: 'new' } }), { unusable: /restrictions/ });
  t.match(parse({ auth: { password: true, pin: true, headerAuths: [{}] } }), { access: { proofs: [['password'], ['pin'], ['header']] } });
  t.match(parse({ path: Array.from({ length: 1001 }, () => base.path[0]) }), { unusable: /too many/ });
});

void t.test('endpoints keep what a message leaves out, and drop what is no address', async (t) => {
  const config = (init: object): ReturnType<typeof create<typeof NetbirdConfigSchema>> => create(NetbirdConfigSchema, init);
  const relay = { urls: ['rels://a.test:443', 'https://b'], tokenPayload: 'p', tokenSignature: 's' };
  t.equal(endpointsAfter(undefined, config({ relay }), silentLogger), undefined, 'signal must be said at login');
  t.equal(endpointsAfter(undefined, config({ signal: { uri: 'a.test' } }), silentLogger), undefined, 'and with a port');
  const first = endpointsAfter(
    undefined,
    config({ signal: { uri: 'a.test:443', protocol: 3 }, stuns: [{ uri: 'stun:a.test:3478' }, { uri: 'http://x' }], relay }),
    silentLogger,
  );
  t.same(first, {
    signal: { host: 'a.test', port: 443, tls: true },
    stunUrls: ['stun:a.test:3478'],
    relay: { urls: ['rels://a.test:443'], tokenPayload: 'p', tokenSignature: 's' },
  });
  const renewed = endpointsAfter(first, config({ signal: { uri: 'evil.test:1' }, relay: { ...relay, tokenPayload: 'q' } }), silentLogger);
  t.match(renewed, { signal: { host: 'a.test' }, stunUrls: ['stun:a.test:3478'], relay: { tokenPayload: 'q' } });
  const turns = [
    { hostConfig: { uri: 'turn:a.test:3478?transport=udp' }, user: '1:peer', password: 'x' },
    { user: 'without a host', password: 'x' },
    { hostConfig: { uri: 'http://a.test' }, user: 'u', password: 'x' },
  ];
  const withTurn = endpointsAfter(renewed, config({ turns }), silentLogger);
  t.same(withTurn?.turn, [{ url: 'turn:a.test:3478?transport=udp', username: '1:peer', password: 'x' }]);
  t.same(endpointsAfter(withTurn, config({}), silentLogger)?.turn, withTurn?.turn, 'an empty list keeps them');
});

void t.test('a session without an identity is none', async (t) => {
  t.equal(sessionFrom(create(SessionSchema, { id: 'x', serviceId: 'y' }), 0), undefined);
  t.equal(sessionFrom(create(SessionSchema, { id: 'x', serviceId: 'y', identity: { userId: 'u', method: 'magic' } }), 0), undefined);
});

void t.test('a session ends by the clock of the control plane, whatever ours says', async (t) => {
  const message = { id: 'x', serviceId: 'y', identity: { userId: 'u', method: 'oidc' }, createdAt: 1n, expiresAt: 5_000n };
  for (const skew of [-300_000, 0, 300_000]) {
    const session = sessionFrom(create(SessionSchema, { ...message, remainingMs: 60_000n, idleMs: 300_000n }), 1_000 + skew);
    t.match(session, { expiresAt: 61_000 + skew, idleMs: 300_000 });
  }
  t.match(sessionFrom(create(SessionSchema, message), 1_000), { expiresAt: 5_000, idleMs: undefined }, 'an older control plane');
});
