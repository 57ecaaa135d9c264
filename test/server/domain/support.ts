// What the domain's tests share: a domain over SQLite in memory or a folder, a clock that is set by hand, and seeded bytes.
import { createHash } from 'node:crypto';
import { PasswordHasher } from '#crypto/password.ts';
import { asBuffer, toBase64 } from '#lib/bytes.ts';
import { silentLogger } from '#lib/log.ts';
import { asId, type PublicKey, type UserId } from '#model/ids.ts';
import type { PeerMeta, PolicyRule } from '#model/network.ts';
import { defaultTargetOptions, noRestrictions } from '#model/service.ts';
import { plainAccess } from '#model/access.ts';
import { defaultStream } from '#model/stream.ts';
import { defaultWeb } from '#model/web.ts';
import type { Actor, Change, ServiceInput } from '../../../src/server/domain/contract.ts';
import { openControlDomain, type ControlDomainOptions, type OpenControlDomain } from '../../../src/server/domain/index.ts';
import { ManualClock } from '../../support/manual-clock.ts';

export { ManualClock };

export const system: Actor = { kind: 'system' };

export const masterKey = new Uint8Array(32).fill(7);

/** Bytes that are the same for the same seed: SHA-256 over a counter. */
export function seeded(seed: string): (length: number) => Uint8Array {
  let counter = 0;
  return (length) => {
    const blocks: Uint8Array[] = [];
    for (let have = 0; have < length; have += 32) blocks.push(createHash('sha256').update(`${seed} ${counter++}`).digest());
    return new Uint8Array(Buffer.concat(blocks)).slice(0, length);
  };
}

/** Cheap enough for tests; the costs are stored with each hash. */
const quickHasher = new PasswordHasher({ cost: { N: 16, r: 1, p: 1 }, waiting: 1_000 });

export interface Fixture {
  readonly domain: OpenControlDomain;
  readonly clock: ManualClock;
  /** Every change since the domain was opened. */
  readonly changes: Change[];
}

/** Where domains are whose test names no store: see `overStores`. */
let newStore: () => Promise<string> = async () => 'sqlite::memory:';

/** From now on each domain that names no store has one of these of its own. */
export function overStores(fresh: () => Promise<string>): void {
  newStore = fresh;
}

export async function openDomain(options: Partial<ControlDomainOptions> = {}): Promise<Fixture> {
  const clock = new ManualClock();
  const domain = await openControlDomain({
    storeUrl: options.storeUrl ?? (await newStore()),
    masterKey,
    dnsDomain: 'mesh.test',
    clock,
    log: silentLogger,
    random: seeded('domain'),
    hasher: quickHasher,
    resolveCname: async () => [],
    resolveTxt: async () => [],
    ...options,
  });
  const changes: Change[] = [];
  domain.changes.subscribe((change) => changes.push(change));
  return { domain, clock, changes };
}

/** A public key that follows from a name. */
export function keyOf(name: string): PublicKey {
  return asId(toBase64(asBuffer(createHash('sha256').update(name).digest())));
}

export function metaOf(hostname: string, more: Partial<PeerMeta> = {}): PeerMeta {
  return { hostname, os: 'linux', osVersion: '6.1', kernel: 'Linux', platform: 'amd64', version: '0.60.0', uiVersion: '', ipv6: false, ...more };
}

/** Registers a peer by a setup key of its own. */
export async function addPeer(domain: OpenControlDomain, name: string, more: Partial<PeerMeta> = {}): Promise<ReturnType<typeof keyOf>> {
  const { plain } = await domain.setupKeys.create(
    { name, type: 'one-off', expiresInSeconds: 0, usageLimit: 0, ephemeral: false, autoGroups: [] },
    system,
  );
  await domain.peers.login({ publicKey: keyOf(name), meta: metaOf(name, more), setupKey: plain, userId: undefined });
  return keyOf(name);
}

export async function addOwner(domain: OpenControlDomain, email = 'owner@example.com', password = 'correct horse'): Promise<UserId> {
  const code = (await domain.users.setupCode()) ?? '';
  return (await domain.users.setup({ code, email, password, name: 'Owner' })).id;
}

export function ruleOf(rule: Partial<Omit<PolicyRule, 'id'>>): Omit<PolicyRule, 'id'> {
  return {
    name: 'rule',
    description: '',
    enabled: true,
    action: 'accept',
    bidirectional: false,
    protocol: 'all',
    ports: [],
    sources: [],
    destinations: [],
    ...rule,
  };
}

/** An http service at that peer with sign-in for everybody. */
export function serviceOf(peerId: string, more: Partial<ServiceInput> = {}): ServiceInput {
  return {
    name: 'app',
    domain: 'app.proxy.test',
    mode: 'http',
    listenPort: undefined,
    enabled: true,
    passHostHeader: false,
    rewriteRedirects: false,
    private: false,
    tlsAt: 'gateway',
    access: plainAccess,
    web: defaultWeb,
    stream: defaultStream,
    accessGroups: [],
    issuers: [],
    restrictions: noRestrictions,
    targets: [targetOf(peerId)],
    auth: { oidc: { enabled: true, groups: [] }, password: undefined, pin: undefined, headers: [] },
    ...more,
  };
}

export function targetOf(peerId: string, more: Partial<ServiceInput['targets'][number]> = {}): ServiceInput['targets'][number] {
  return {
    targetId: peerId,
    targetType: 'peer',
    path: '/',
    protocol: 'http',
    host: '',
    port: 8080,
    enabled: true,
    options: defaultTargetOptions,
    ...more,
  };
}

/** A token for gateways of any cluster, until it is used. */
export async function addGatewayToken(domain: OpenControlDomain, name = 'gw', expiresInSeconds = 0): ReturnType<typeof domain.tokens.createProxy> {
  return await domain.tokens.createProxy({ name, expiresInSeconds, cluster: undefined }, system);
}

/** Makes the cluster `proxy.test` known, by a gateway whose token has its name. */
export async function addCluster(domain: OpenControlDomain, address = 'proxy.test', proxyId = 'gateway-1'): Promise<void> {
  const known = (await domain.tokens.listProxy()).find(({ name }) => name === proxyId);
  const { id } = known ?? (await addGatewayToken(domain, proxyId)).token;
  await domain.clusters.proxyConnected({ proxyId: asId(proxyId), tokenId: id, cluster: address, version: '1' });
}

/** Registers peers by one key until the process ends; tells of each when the domain has acknowledged it. */
export async function addPeersForEver(storeUrl: string, acknowledged: (name: string) => void): Promise<never> {
  const { domain } = await openDomain({ storeUrl });
  const request = { name: 'k', type: 'reusable', expiresInSeconds: 0, usageLimit: 0, ephemeral: false, autoGroups: [] } as const;
  const { plain } = await domain.setupKeys.create(request, system);
  for (let index = 0; ; index++) {
    const name = `peer-${index}`;
    await domain.peers.login({ publicKey: keyOf(name), meta: metaOf(name), setupKey: plain, userId: undefined });
    acknowledged(name);
  }
}
