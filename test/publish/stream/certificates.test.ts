// Certificates of the account's own authority at TLS services: whose each is says somebody else, for each connection and as long as it lives.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connect as tlsConnect, type TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import { plainAccess, type ProofAlternatives } from '#model/access.ts';
import type { CredentialCheck } from '#model/identity.ts';
import { defaultStream } from '#model/stream.ts';
import type { ServiceMapping } from '#model/service.ts';
import { createTestCa } from '../../support/test-ca.ts';
import { alice, issue } from '../harness.ts';
import { type Door, entry, open, stream, upstream } from './door.ts';

const valid: CredentialCheck = { kind: 'valid', identity: { ...alice, method: 'certificate' } };

function service(ca: string, port: number, required: boolean, proofs: ProofAlternatives, more: Partial<ServiceMapping> = {}): ServiceMapping {
  const termination = { alpn: [], tellTarget: false, clientCertificate: { account: true, ca, required } };
  return stream('db.test', [port], { mode: 'tls', stream: { ...defaultStream, termination }, access: { ...plainAccess, proofs }, ...more });
}

interface Site {
  readonly door: Door;
  readonly asked: string[];
  readonly target: Awaited<ReturnType<typeof upstream>>;
  readonly say: (text: string, shows?: boolean) => Promise<string>;
  readonly dial: (shows?: boolean) => TLSSocket;
  /** Below the TLS of `dial`. */
  readonly raws: readonly Socket[];
  readonly apply: (required: boolean, proofs: ProofAlternatives, more?: Partial<ServiceMapping>) => void;
}

async function site(t: Test, holder: () => CredentialCheck | Promise<CredentialCheck>): Promise<Site> {
  const target = await upstream(t);
  const authority = await createTestCa();
  const own = await authority.issue(['alice']);
  const certificate = await issue(['db.test']);
  const asked: string[] = [];
  const door = await open(
    t,
    [service(authority.caPem, target.port, true, [['certificate']])],
    false,
    new Map([['db.test', certificate]]),
    undefined,
    (fingerprint) => {
      asked.push(fingerprint);
      return holder();
    },
  );
  const raws: Socket[] = [];
  const dial = (shows = true): TLSSocket => {
    const pair = shows ? { cert: own.certPem, key: own.keyPem } : {};
    const raw = connect({ host: '127.0.0.1', port: door.port });
    raws.push(raw);
    raw.on('error', () => undefined);
    const socket = tlsConnect({ socket: raw, servername: 'db.test', ca: certificate.ca, ...pair });
    socket.on('error', () => undefined);
    t.teardown(() => void socket.destroy());
    return socket;
  };
  const say = async (text: string, shows = true): Promise<string> => {
    const socket = dial(shows);
    let answer = '';
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString('latin1')));
    socket.end(text);
    await new Promise<void>((done) => void socket.once('close', () => done()));
    return answer;
  };
  return {
    door,
    asked,
    target,
    say,
    dial,
    raws,
    apply: (required, proofs, more) => door.apply([service(authority.caPem, target.port, required, proofs, more)]),
  };
}

void t.test('the holder of a certificate gets in, and the record names him', async (t) => {
  const { door, say, asked } = await site(t, () => valid);
  t.equal(await say('hello'), 'HELLO');
  t.match(asked, [/^[0-9a-f]{64}$/]);
  t.match(await entry(door), { reason: 'done', userId: alice.userId, authMethod: 'certificate', clientCertificate: 'CN=alice' });
});

void t.test('whoever is denied, or cannot be asked for, reaches nothing', async (t) => {
  const answers: (() => CredentialCheck | Promise<CredentialCheck>)[] = [
    () => ({ kind: 'denied', why: 'wrong', retryAfterMs: 0 }),
    () => ({ kind: 'denied', why: 'group_not_allowed', retryAfterMs: 0 }),
    () => Promise.reject(new Error('away')),
  ];
  let next = 0;
  const { door, say, target, apply } = await site(t, () => (answers[next++ % answers.length] ?? (() => valid))());
  for (const [count, reason] of [['credential_invalid'], ['group_not_allowed'], ['auth_unavailable']].entries()) {
    t.equal(await say('hello'), '');
    t.match(await entry(door, count + 1), { reason: reason[0], authSuccess: false, userId: '' });
  }
  // A bad certificate is no less bad where none is needed and nothing else is asked.
  apply(false, []);
  t.equal(await say('hello'), '');
  t.match(await entry(door, 4), { reason: 'credential_invalid' });
  t.equal(await say('hello', false), 'HELLO', 'who shows none is asked for none');
  t.same(target.received, ['hello']);
});

void t.test('what the policy asks beyond it stays asked', async (t) => {
  const { door, say, apply, target } = await site(t, () => valid);
  apply(false, [['oidc'], ['certificate']]);
  t.equal(await say('hello', false), '', 'neither has he signed in nor shown one');
  t.match(await entry(door), { reason: 'not_signed_in' });
  apply(true, [['oidc']]);
  t.equal(await say('hello'), '', 'a certificate is no sign-in');
  t.match(await entry(door, 2), { reason: 'not_signed_in' });
  const when = {
    ...plainAccess.rules[0]?.when,
    paths: [],
    methods: [],
    addresses: [],
    countries: [],
    networks: [],
    times: [],
    groups: [],
    claims: [],
  };
  const deny = { name: 'no alice', action: 'deny', observe: false, proofs: [], when: { ...when, users: [alice.email] } } as const;
  apply(true, [['certificate']], { access: { ...plainAccess, proofs: [['certificate']], rules: [deny] } });
  t.equal(await say('hello'), '');
  t.match(await entry(door, 3), { reason: 'rule_denied', rule: 'no alice' });
  t.same(target.received, []);
});

void t.test('the end of trust ends what is open, of that certificate only', async (t) => {
  const { door, asked, dial, target } = await site(t, () => valid);
  const socket = dial();
  socket.resume();
  while (target.sockets.size === 0) await new Promise((done) => setImmediate(done));
  door.endTrust('another', 'db.test');
  door.endTrust(asked[0] ?? '', 'other.test');
  t.equal(door.open(), 1);
  const closed = new Promise<void>((done) => void socket.once('close', () => done()));
  door.endTrust(asked[0] ?? '', 'db.test');
  await closed;
  t.match(await entry(door), { reason: 'session_revoked', userId: alice.userId });
});

void t.test('a client that breaks off while its holder is asked for takes nothing with it', async (t) => {
  let answer = (_check: CredentialCheck): void => undefined;
  const { door, asked, dial, raws, target, say } = await site(t, () => new Promise((resolve) => (answer = resolve)));
  const socket = dial();
  await once(socket, 'secureConnect');
  while (asked.length === 0) await new Promise((done) => setImmediate(done));
  raws[0]?.resetAndDestroy();
  for (let turn = 0; turn < 20; turn++) await new Promise((done) => setImmediate(done));
  answer(valid);
  t.match(await entry(door), { authSuccess: true, reason: 'client_closed' });
  t.equal(target.received.length, 0);
  const next = say('hello');
  while (asked.length === 1) await new Promise((done) => setImmediate(done));
  answer(valid);
  t.equal(await next, 'HELLO', 'the door goes on');
});
