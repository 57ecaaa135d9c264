// A published host with a real control domain behind it, joined without a wire: what visitors do here is judged as in the product, and the upstream
// keeps what it received. Browsers are played by `Visitor`.
import type { Test } from 'tap';
import { AssertionSigner } from '#identity/assertion.ts';
import { CredentialCache } from '#identity/credential-cache.ts';
import { SessionCache, type EndedTrust } from '#identity/session-cache.ts';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import type { AccessPolicy } from '#model/access.ts';
import { plainAccess } from '#model/access.ts';
import { asId, type PeerId, type ServiceId, type UserId } from '#model/ids.ts';
import type { CredentialAuthority, DeviceAuthority, ProofAuthority, SessionAuthority } from '#model/identity.ts';
import { createAccessBackend, createIdentityHeaders, createLoginStates, createSignIn } from '#publish/index.ts';
import type { ServiceInput } from '../../src/server/domain/contract.ts';
import type { ControlDomainOptions, OpenControlDomain } from '../../src/server/domain/index.ts';
import { exchange, path, startFixture, type Fixture } from '../publish/harness.ts';
import { addCluster, addOwner, addPeer, ManualClock, openDomain, serviceOf, system } from '../server/domain/support.ts';
import { startRecorder, type Recorder } from '../attacks/harness.ts';

type Authority = SessionAuthority & ProofAuthority & CredentialAuthority & DeviceAuthority;

export interface FrontDoor {
  readonly domain: OpenControlDomain;
  /** Of the control plane; gateways have the system's. */
  readonly clock: ManualClock;
  readonly fixture: Fixture;
  readonly recorder: Recorder;
  readonly serviceId: ServiceId;
  readonly peerId: PeerId;
  readonly userId: UserId;
  readonly authority: Authority;
  /** Changes the service, and resolves when the gateway has it. */
  update(auth: Partial<ServiceInput['auth']>, access?: Partial<AccessPolicy>): Promise<void>;
}

export const noAuth: ServiceInput['auth'] = { oidc: { enabled: false, groups: [] }, password: undefined, pin: undefined, headers: [] };

/** Starts it with a service at `a.test`. */
export async function openFrontDoor(
  t: Test,
  auth: Partial<ServiceInput['auth']>,
  access: Partial<AccessPolicy> = {},
  options: Partial<ControlDomainOptions> = {},
): Promise<FrontDoor> {
  const clock = new ManualClock(Date.now());
  const { domain } = await openDomain({ clock, ...options });
  await addCluster(domain, 'a.test');
  const userId = await addOwner(domain);
  const peerId = (await domain.peers.self(await addPeer(domain, 'web'))).peer.id;
  const input = (nextAuth: Partial<ServiceInput['auth']>, nextAccess: Partial<AccessPolicy>): ServiceInput =>
    serviceOf(peerId, { domain: 'a.test', passHostHeader: true, auth: { ...noAuth, ...nextAuth }, access: { ...plainAccess, ...nextAccess } });
  const serviceId = (await domain.services.create(input(auth, access), system)).id;

  const authority: Authority = {
    // ID tokens of these tests are the ids of users.
    createSession: async (service, idToken, _nonce, visitor, previous) => ({
      kind: 'granted',
      session: await domain.sessions.create(service, asId<UserId>(idToken), 'a.test', { signIn: '', methods: [], ...visitor }, previous),
    }),
    findSession: async (id, service) => {
      const found = await domain.sessions.find(id, service, 'a.test');
      return 'session' in found ? { kind: 'live', session: found.session } : { kind: 'none', why: found.missing };
    },
    verifyPeer: () => Promise.resolve({ kind: 'denied', why: 'token_invalid' }),
    endSession: (id) => domain.sessions.end(id, 'a.test'),
    verifyServiceToken: async (plain, service) => {
      const checked = await domain.sessions.verifyServiceToken(plain, service, 'a.test');
      return 'identity' in checked ? { kind: 'valid', identity: checked.identity } : { kind: 'denied', why: checked.denied };
    },
    prove: (attempt) => domain.proofs.prove(attempt, 'a.test'),
    verifyCredential: (attempt) => domain.proofs.verify(attempt, 'a.test'),
    pairDevice: (session, service, name) => domain.devices.pair(session, service, 'a.test', name),
    listDevices: (session, service) => domain.devices.listAt(session, service, 'a.test'),
    revokeDevice: (session, service, id) => domain.devices.revokeAt(session, service, 'a.test', id),
  };
  const sessions = new SessionCache({ authority, clock: systemClock, log: silentLogger });
  const credentials = new CredentialCache({ authority, clock: systemClock, ended: (ended) => cut(ended) });
  const states = createLoginStates(new Uint8Array(32).fill(3), systemClock);
  const oidc = {
    authorizationUrl: async ({ state }: { readonly state: string }) => new URL(`https://idp.test/authorize?state=${state}`),
    exchange: async ({ callbackUrl }: { readonly callbackUrl: URL }) => {
      const sub = callbackUrl.searchParams.get('code') ?? '';
      return { idToken: sub, claims: { sub } };
    },
    endSessionUrl: async () => undefined,
    close: async () => undefined,
  };
  const signIn = createSignIn({ relyingParty: () => ({ oidc, states }), authority, sessions, clock: systemClock, log: silentLogger });
  const signer = await AssertionSigner.open({
    store: { load: async () => undefined, save: async () => undefined },
    clock: systemClock,
    log: silentLogger,
  });
  const recorder = await startRecorder(t);
  const mappings = async (): Promise<void> => {
    const mapping = await domain.services.mapping(serviceId, 'a.test');
    fixture.setRoutes(mapping === undefined ? [] : [{ ...mapping, paths: [path(recorder.port)] }]);
  };
  const fixture = await startFixture([], {
    backend: createAccessBackend(sessions, credentials),
    signIn,
    devices: authority,
    identityHeaders: createIdentityHeaders(signer),
    trustedProxies: ['127.0.0.0/8', '::1/128'],
  });
  const cut = ({ sessionKey, serviceId: at }: EndedTrust): void =>
    void fixture.publisher.endStreams((stream) => stream.serviceId === at && stream.restsOn(sessionKey));
  sessions.onEnd(cut);
  domain.changes.subscribe((change) => {
    if (change.kind !== 'revocation') return;
    sessions.revoke(change.revocation);
    credentials.revoke(change.revocation);
  });
  await mappings();
  t.teardown(async () => {
    await Promise.all([fixture.close(), sessions.close(), credentials.close()]);
    await domain.close();
  });
  return {
    domain,
    clock,
    fixture,
    recorder,
    serviceId,
    peerId,
    userId,
    authority,
    update: async (nextAuth, nextAccess = {}) => {
      await domain.services.update(serviceId, input(nextAuth, nextAccess), system);
      await mappings();
    },
  };
}

export interface Seen {
  readonly status: number;
  readonly text: string;
  readonly location: string;
}

export interface Asked {
  readonly method?: string;
  /** Whole lines. */
  readonly fields?: readonly string[];
  readonly form?: Readonly<Record<string, string>>;
}

/** A browser: keeps cookies, fills in forms. Each comes from an address of its own unless told otherwise. */
export class Visitor {
  readonly cookies = new Map<string, string>();
  readonly #door: Pick<FrontDoor, 'fixture'>;
  readonly #address: string;
  #origin: string | undefined = 'https://a.test';

  constructor(door: Pick<FrontDoor, 'fixture'>, address = '192.0.2.1') {
    this.#door = door;
    this.#address = address;
  }

  /** Claims to stand at a page of another origin. */
  from(origin: string | undefined): this {
    this.#origin = origin;
    return this;
  }

  async ask(target: string, { method, fields = [], form }: Asked = {}): Promise<Seen> {
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const body = form === undefined ? '' : new URLSearchParams(form).toString();
    const lines = [
      `${method ?? (form === undefined ? 'GET' : 'POST')} ${target} HTTP/1.1`,
      'Host: a.test',
      'Connection: close',
      `X-Forwarded-For: ${this.#address}`,
      ...(fields.some((line) => /^accept:/i.test(line)) ? [] : ['Accept: text/html']),
      ...(cookie === '' ? [] : [`Cookie: ${cookie}`]),
      ...(form === undefined ? [] : ['Content-Type: application/x-www-form-urlencoded', `Content-Length: ${Buffer.byteLength(body)}`]),
      ...(form === undefined || this.#origin === undefined ? [] : [`Origin: ${this.#origin}`]),
      ...fields,
    ];
    const text = await exchange(this.#door.fixture, `${lines.join('\r\n')}\r\n\r\n${body}`);
    for (const [, name = '', value = '', rest = ''] of text.matchAll(/^Set-Cookie: ([^=]+)=([^;]*)(.*)\r$/gm)) {
      if (/Max-Age=0/.test(rest)) this.cookies.delete(name);
      else this.cookies.set(name, value);
    }
    return { status: Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0), text, location: /^Location: (.*)\r$/m.exec(text)?.[1] ?? '' };
  }

  /** Fills in the form of that kind on a page, and sends it. */
  async fill(page: Seen, kind: string, secret: string, more: Readonly<Record<string, string>> = {}): Promise<Seen> {
    return this.ask('/.meshgate/sign-in', { form: { ...hiddenOf(page, kind), secret, ...more } });
  }

  get session(): string | undefined {
    return this.cookies.get('__Host-meshgate');
  }
}

/** The hidden fields of the form of that kind. */
export function hiddenOf(page: Seen, kind: string): Readonly<Record<string, string>> {
  const form = [...page.text.matchAll(/<form[^]*?<\/form>/g)].map(([text]) => text).find((text) => text.includes(`value="${kind}"`));
  if (form === undefined) throw new Error(`no form for ${kind}: ${page.text.slice(0, 2_000)}`);
  const unescape = (text: string): string => text.replaceAll(/&#(\d+);/g, (_all, code: string) => String.fromCharCode(Number(code)));
  return Object.fromEntries(
    [...form.matchAll(/type="hidden" name="([^"]*)" value="([^"]*)"/g)].map(([, name = '', value = '']) => [name, unescape(value)]),
  );
}
