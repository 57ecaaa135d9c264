// A domain in memory, just enough for the services that are tested over it: peers, setup keys, services, gateway tokens, sessions.
import { randomBytes } from 'node:crypto';
import { defineErrors } from '#lib/errors.ts';
import { hostPrefix, parseIp, parsePrefix, type IpPrefix } from '#lib/ip.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import { asId, type PublicKey, type ServiceId, type SessionId, type TokenId, type UserId } from '#model/ids.ts';
import type { Identity, Session } from '#model/identity.ts';
import type { PacketFilter } from '#model/network-map.ts';
import type { Peer, PeerMeta } from '#model/network.ts';
import type { ServiceMapping } from '#model/service.ts';
import type { Change, PeerLogin, PeerSelf, ProxyConnection, ProxyToken, ServiceUseCases } from '#server/domain/contract.ts';
import type { PeerMap } from '#server/netmap/peer-map.ts';
import type { ManagementDomain } from '#server/management/options.ts';

const fakeError = defineErrors('test/domain', {
  DOMAIN_PEER_UNKNOWN: { text: 'The peer is not registered.', origin: 'input', retry: false, status: 403 },
  DOMAIN_SETUP_KEY_INVALID: { text: 'There is no such setup key.', origin: 'input', retry: false, status: 403 },
  DOMAIN_SETUP_KEY_EXPIRED: { text: 'The setup key has expired.', origin: 'input', retry: false, status: 403 },
  DOMAIN_PROXY_TOKEN_INVALID: { text: 'The one-time token does not fit.', origin: 'input', retry: false, status: 403 },
  DOMAIN_USER_BLOCKED: { text: 'The user is blocked.', origin: 'input', retry: false, status: 403 },
  DOMAIN_GROUP_NOT_ALLOWED: { text: 'Not in a group.', origin: 'input', retry: false, status: 403 },
});

type StatusReport = Parameters<ServiceUseCases['reportStatus']>[0];

export class FakeDomain implements ManagementDomain {
  readonly accountId = asId<ManagementDomain['accountId']>('account-1');
  readonly setupKeys = new Map<string, 'good' | 'expired'>([
    ['A2C8E62B-38F5-4553-B31E-DD66C696CEBB', 'good'],
    ['B2C8E62B-38F5-4553-B31E-DD66C696CEBB', 'expired'],
  ]);
  readonly known = new Map<PublicKey, PeerSelf>();
  readonly proxyTokens = new Map<string, ProxyToken>();
  readonly mappingTable = new Map<ServiceId, ServiceMapping>();
  readonly sessionTable = new Map<SessionId, Session>();
  readonly blockedUsers = new Set<UserId>();
  readonly log: string[] = [];
  readonly accessLog: AccessLogEntry[] = [];
  readonly statusReports: StatusReport[] = [];
  readonly connections: ProxyConnection[] = [];
  serial = 1n;
  filter: PacketFilter = { kind: 'rules', rules: [] };
  readonly #listeners = new Set<(change: Change) => void>();
  readonly visitors: ManagementDomain['visitors'] = { verify: async () => ({ denied: 'token_invalid' }) };
  readonly diagnoses: ManagementDomain['diagnoses'] = { redeem: async (token) => token === 'good' };
  /** Likewise for agents at which TLS ends. */
  readonly agentDoors: ManagementDomain['agentDoors'] = { grant: () => Promise.reject(fakeError('DOMAIN_USER_BLOCKED')) };
  /** Nothing is exposed here: the real domain's suite and the raw client over the real server do that. */
  readonly exposures: ManagementDomain['exposures'] = {
    create: () => Promise.reject(fakeError('DOMAIN_GROUP_NOT_ALLOWED')),
    renew: () => Promise.reject(fakeError('DOMAIN_GROUP_NOT_ALLOWED')),
    idOf: () => Promise.reject(fakeError('DOMAIN_GROUP_NOT_ALLOWED')),
    stop: () => Promise.resolve(),
  };

  /** Subscribers to changes now. */
  get watching(): number {
    return this.#listeners.size;
  }

  emit(change: Change): void {
    for (const listener of this.#listeners) listener(change);
  }

  addPeer(publicKey: PublicKey, meta: PeerMeta): PeerSelf {
    const index = this.known.size + 1;
    const name = `${meta.hostname}-${index}`;
    const peer: Peer = {
      id: asId<Peer['id']>(`peer-${index}`),
      publicKey,
      name,
      dnsLabel: name,
      ipv4: `100.92.0.${index}`,
      ipv6: `fd00::${index.toString(16)}`,
      meta,
      userId: undefined,
      loginExpirationEnabled: false,
      loginExpired: false,
      ephemeral: false,
      proxyCluster: undefined,
      connected: false,
      connectionIp: '',
      lastSeen: 0,
      lastLogin: 0,
      createdAt: 0,
    };
    const self = { peer, networkBits: { v4: 16, v6: 64 }, fqdn: `${name}.mesh.test`, sessionExpiresAt: undefined };
    this.known.set(publicKey, self);
    this.serial += 1n;
    this.emit({ kind: 'network', peers: undefined });
    return self;
  }

  removePeer(publicKey: PublicKey): void {
    this.known.delete(publicKey);
    this.serial += 1n;
    this.emit({ kind: 'peer-removed', publicKey });
    this.emit({ kind: 'network', peers: undefined });
  }

  /** Bound to a cluster, as after its first registration. */
  addProxyToken(plain: string, cluster: string | undefined = 'apps.test'): TokenId {
    const id = asId<TokenId>(`token-${this.proxyTokens.size + 1}`);
    this.proxyTokens.set(plain, { id, name: 'gateway', createdAt: 0, expiresAt: undefined, lastUsed: undefined, revoked: false, cluster });
    return id;
  }

  revokeProxyToken(plain: string): void {
    const token = this.proxyTokens.get(plain);
    if (token === undefined) return;
    this.proxyTokens.delete(plain);
    this.emit({ kind: 'proxy-token-revoked', tokenId: token.id });
  }

  setMapping(mapping: ServiceMapping, cluster: string): void {
    this.mappingTable.set(mapping.id, mapping);
    this.emit({ kind: 'service-set', serviceId: mapping.id, cluster });
  }

  removeMapping(serviceId: ServiceId, cluster: string): void {
    this.mappingTable.delete(serviceId);
    this.emit({ kind: 'service-removed', serviceId, cluster });
  }

  readonly peers = {
    login: async (request: PeerLogin): Promise<PeerSelf> => {
      const known = this.known.get(request.publicKey);
      if (known !== undefined) return known;
      if (request.userId !== undefined) return this.addPeer(request.publicKey, request.meta);
      if (request.setupKey === '') throw fakeError('DOMAIN_PEER_UNKNOWN');
      const key = this.setupKeys.get(request.setupKey.toUpperCase());
      if (key === undefined) throw fakeError('DOMAIN_SETUP_KEY_INVALID');
      if (key === 'expired') throw fakeError('DOMAIN_SETUP_KEY_EXPIRED');
      return this.addPeer(request.publicKey, request.meta);
    },
    extendSession: async ({ publicKey }: { readonly publicKey: PublicKey }): Promise<PeerSelf> => this.#self(publicKey),
    self: async (publicKey: PublicKey): Promise<PeerSelf> => this.#self(publicKey),
    updateMeta: async (publicKey: PublicKey, meta: PeerMeta): Promise<void> => {
      const self = this.#self(publicKey);
      this.known.set(publicKey, { ...self, peer: { ...self.peer, meta } });
    },
    setConnected: async (publicKey: PublicKey, connected: boolean): Promise<void> => {
      this.log.push(`${connected ? 'connected' : 'disconnected'} ${this.#self(publicKey).peer.id}`);
    },
    logout: async (publicKey: PublicKey): Promise<void> => {
      this.#self(publicKey);
      this.removePeer(publicKey);
    },
    registerProxyPeer: async (request: Parameters<ManagementDomain['peers']['registerProxyPeer']>[0]): Promise<PeerSelf> => {
      const mapping = this.mappingTable.get(request.serviceId);
      if (mapping === undefined || mapping.authToken !== request.oneTimeToken) throw fakeError('DOMAIN_PROXY_TOKEN_INVALID');
      const meta = { hostname: 'gateway', os: '', osVersion: '', kernel: '', platform: '', version: '', uiVersion: '', ipv6: false };
      return this.known.get(request.publicKey) ?? this.addPeer(request.publicKey, meta);
    },
  };

  readonly maps = {
    build: async (publicKey: PublicKey): Promise<PeerMap> => {
      const self = this.#self(publicKey);
      const others = [...this.known.values()].filter(({ peer }) => peer.publicKey !== publicKey);
      return {
        serial: this.serial,
        self: { v4: prefix(`${self.peer.ipv4}/16`), v6: self.peer.meta.ipv6 ? prefix(`${self.peer.ipv6}/64`) : undefined, fqdn: self.fqdn },
        peers: others.map(({ peer, fqdn }) => ({
          publicKey: peer.publicKey,
          allowedIps: [hostPrefix(address(peer.ipv4)), hostPrefix(address(peer.ipv6))],
          fqdn,
          agentVersion: peer.meta.version,
        })),
        filter: this.filter,
      };
    },
  };

  readonly changes = {
    subscribe: (listener: (change: Change) => void): (() => void) => {
      this.#listeners.add(listener);
      return () => this.#listeners.delete(listener);
    },
  };

  readonly services = {
    mappings: async (): Promise<readonly ServiceMapping[]> => [...this.mappingTable.values()],
    mapping: async (id: ServiceId): Promise<ServiceMapping | undefined> => this.mappingTable.get(id),
    reportStatus: async (report: StatusReport): Promise<void> => void this.statusReports.push(report),
  };

  readonly clusters = {
    proxyConnected: async (connection: ProxyConnection): Promise<void> => {
      this.connections.push(connection);
      this.log.push(`proxy connected ${connection.proxyId}`);
    },
    proxyHeartbeat: async (proxyId: string): Promise<void> => void this.log.push(`proxy heartbeat ${proxyId}`),
    proxyDisconnected: async (proxyId: string): Promise<void> => void this.log.push(`proxy disconnected ${proxyId}`),
  };

  readonly tokens = { verifyProxy: async (plain: string): Promise<ProxyToken | undefined> => this.proxyTokens.get(plain) };

  readonly devices: ManagementDomain['devices'] = {
    pair: async (_session, _service, _cluster, name) =>
      name === 'TV' ? { device: { id: 'd1', name, createdAt: 1000, lastUsed: undefined }, secret: 'nbd_x' } : { refused: 'name_invalid' },
    listAt: async () => [{ id: 'd1', name: 'TV', createdAt: 1000, lastUsed: 2000 }],
    revokeAt: async (_session, _service, _cluster, id) => void this.log.push(`device revoked ${id}`),
  };

  readonly proofs: ManagementDomain['proofs'] = {
    prove: async ({ serviceId, kind, secret, sessionId }) => {
      if (secret !== 'right') return { kind: 'refused', why: secret === 'again' ? 'wait' : 'wrong', retryAfterMs: 1_500 };
      const id = asId<SessionId>(`after ${sessionId ?? 'nothing'}`);
      const identity: Identity = { userId: asId<UserId>(`${kind}:1`), email: '', name: 'Shared', groups: [], method: kind };
      return {
        kind: 'granted',
        session: { id, serviceId, identity, proofs: [kind], createdAt: 1000, expiresAt: 2000, idleMs: undefined },
        knownBrowser: 'known',
      };
    },
    verify: async ({ kind, name, secret }) => {
      if (secret !== 'right') return { kind: 'denied', why: 'wait', retryAfterMs: 1_500 };
      return { kind: 'valid', identity: { userId: asId<UserId>(`${kind}:${name}`), email: '', name, groups: [], method: kind } };
    },
  };

  readonly sessions = {
    create: async (serviceId: ServiceId, userId: UserId): Promise<Session> => {
      if (this.blockedUsers.has(userId)) throw fakeError('DOMAIN_USER_BLOCKED');
      const id = asId<SessionId>(randomBytes(16).toString('hex'));
      const session = { id, serviceId, identity: identityOf(userId, 'oidc'), createdAt: 1000, expiresAt: 2000, idleMs: undefined };
      this.sessionTable.set(id, session);
      return session;
    },
    find: async (id: SessionId): Promise<{ readonly session: Session } | { readonly missing: 'unknown' }> => {
      const session = this.sessionTable.get(id);
      return session === undefined ? { missing: 'unknown' } : { session };
    },
    end: async (id: SessionId): Promise<void> => void this.sessionTable.delete(id),
    verifyServiceToken: async (plain: string): Promise<{ readonly identity: Identity } | { readonly denied: 'token_invalid' }> =>
      plain === 'nbp_good' ? { identity: identityOf(asId<UserId>('robot'), 'token') } : { denied: 'token_invalid' },
  };

  /** Nobody else is there: a lease is always to be had. */
  readonly certificates: ManagementDomain['certificates'] = {
    lease: () => Promise.resolve({ kind: 'granted' }),
    release: () => Promise.resolve(),
    present: () => Promise.resolve(),
    findChallenge: () => Promise.resolve(undefined),
    recipients: () => Promise.resolve([]),
    share: () => Promise.resolve(),
    report: () => Promise.resolve(),
  };

  readonly events = {
    addAccess: async (entries: readonly AccessLogEntry[]): Promise<number> => {
      this.accessLog.push(...entries);
      return 0;
    },
  };

  #self(publicKey: PublicKey): PeerSelf {
    const self = this.known.get(publicKey);
    if (self === undefined) throw fakeError('DOMAIN_PEER_UNKNOWN');
    return self;
  }
}

function identityOf(userId: UserId, method: Identity['method']): Identity {
  return { userId, email: `${userId}@example.test`, name: userId, groups: ['All', 'Staff'], method };
}

function address(text: string): NonNullable<ReturnType<typeof parseIp>> {
  const ip = parseIp(text);
  if (ip === undefined) throw new TypeError(text);
  return ip;
}

function prefix(text: string): IpPrefix {
  const parsed = parsePrefix(text);
  if (parsed === undefined) throw new TypeError(text);
  return parsed;
}
