// A control domain in memory, just true enough for the API: it keeps what it is given and refuses what it does not have.
import type { Issuer } from '#model/issuer.ts';
import type { IssuerInput, IssuerUseCases } from '../../../src/server/domain/contract.ts';
import { defineErrors } from '#lib/errors.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import type { Role, User } from '#model/identity.ts';
import { asId, parsePublicKey, type PublicKey } from '#model/ids.ts';
import type { Group, Peer, Policy, SetupKey } from '#model/network.ts';
import type { Service } from '#model/service.ts';
import type { AccessLogQuery, AccountSettings, Actor, ApiToken, ControlDomain, Domain, ProxyToken } from '#server/domain/contract.ts';

const domainError = defineErrors('fake-domain', {
  DOMAIN_MISSING: { text: 'Not found', origin: 'input', retry: false, status: 404 },
  DOMAIN_CODE_WRONG: { text: 'The set-up code is wrong', origin: 'input', retry: false, status: 403 },
  DOMAIN_TAKEN: { text: 'The name is taken', origin: 'input', retry: false, status: 409 },
});

export const start = Date.parse('2026-01-02T03:04:05.000Z');

export interface FakeDomain {
  readonly domain: ControlDomain;
  /** What was asked of the domain, with the actor. */
  readonly calls: { readonly name: string; readonly actor: Actor | undefined; readonly detail: unknown }[];
  addUser(name: string, role: Role, more?: Partial<User>): { readonly user: User; readonly token: string };
  addPeer(name: string, more?: Partial<Peer>): Peer;
  addAccess(entry: Partial<AccessLogEntry>): void;
  setupRequired: boolean;
}

class Table<T extends { readonly id: string }> {
  readonly rows = new Map<string, T>();
  list = async (): Promise<readonly T[]> => [...this.rows.values()];
  get = async (id: string): Promise<T> => {
    const row = this.rows.get(id);
    if (row === undefined) throw domainError('DOMAIN_MISSING', id);
    return row;
  };
  put(row: T): T {
    this.rows.set(row.id, row);
    return row;
  }
  async remove(id: string): Promise<void> {
    await this.get(id);
    this.rows.delete(id);
  }
}

export function fakeDomain(): FakeDomain {
  let counter = 0;
  const id = <Id>(kind: string): Id => `${kind}${++counter}` as Id;
  const calls: FakeDomain['calls'] = [];
  const note = (name: string, actor: Actor | undefined, detail: unknown): void => void calls.push({ name, actor, detail });
  const users = new Table<User>();
  const passwords = new Map<string, string>();
  const tokens = new Table<ApiToken & { readonly plain: string }>();
  const proxyTokens = new Table<ProxyToken>();
  const peers = new Table<Peer>();
  const groups = new Table<Group>();
  const policies = new Table<Policy>();
  const keys = new Table<SetupKey>();
  const services = new Table<Service>();
  const domains = new Table<Domain>();
  const access: AccessLogEntry[] = [];
  const never = async (): Promise<never> => {
    throw domainError('DOMAIN_MISSING', 'not used by the API');
  };

  const makeUser = (email: string, name: string, role: Role, service = false): User =>
    users.put({
      id: asId(id('u')),
      email,
      name,
      role,
      blocked: false,
      service,
      autoGroups: [],
      connector: 'local',
      createdAt: start,
      lastLogin: undefined,
    });

  const makeToken = (userId: User['id'], name: string, days: number, createdBy: User['id']): ApiToken & { readonly plain: string } => {
    const token = {
      id: asId<ApiToken['id']>(id('t')),
      userId,
      name,
      createdAt: start,
      expiresAt: start + days * 86_400_000,
      lastUsed: undefined,
      createdBy,
    };
    return tokens.put({ ...token, plain: `nbp_${name}_${token.id}` });
  };

  const actorUser = (actor: Actor): User['id'] => (actor.kind === 'user' ? actor.id : asId('system'));

  const shareLink = {
    id: 'l1',
    label: 'x',
    createdBy: asId<User['id']>('u9'),
    createdAt: start,
    expiresAt: start + 1,
    uses: 1,
    used: 0,
    revoked: false,
  };

  const issuers = new Map<string, Issuer>();
  const putIssuer = (id: string, { clientSecret: _secret, ...rest }: IssuerInput): Issuer => {
    const issuer = { ...rest, id, configured: false };
    issuers.set(id, issuer);
    return issuer;
  };
  const knownIssuer = async (id: string): Promise<Issuer> => issuers.get(id) ?? never();
  const issuerTable: IssuerUseCases = {
    list: async () => [...issuers.values()],
    get: knownIssuer,
    async create(request, actor) {
      note('issuers.create', actor, request);
      return putIssuer(`i${issuers.size + 1}`, request);
    },
    async update(id, request, actor) {
      note('issuers.update', actor, request);
      return putIssuer(id, request);
    },
    async delete(id, actor) {
      note('issuers.delete', actor, id);
      issuers.delete(id);
    },
    secret: never,
  };
  let settings: AccountSettings = {
    loginExpirationEnabled: true,
    loginExpirationMs: 86_400_000,
    routingPeerDns: true,
    lazyConnections: false,
    expose: { enabled: false, groups: [], public: false, domains: [], perPeer: 10 },
    sessionMaxAgeMs: 86_400_000,
    sessionIdleMs: 0,
    secondFactorRequired: false,
  };

  const domain: ControlDomain = {
    accountId: asId('account1'),
    dnsDomain: 'mesh.test',
    visitors: { verify: async () => ({ denied: 'token_invalid' }) },
    diagnoses: { issue: async (serviceId) => ({ token: `diagnosis-${serviceId}`, seconds: 300 }), redeem: async () => true },
    settings: {
      get: async () => settings,
      async update(change, actor) {
        note('settings.update', actor, change);
        return (settings = { ...settings, ...change, expose: { ...settings.expose, ...change.expose } });
      },
    },
    exposures: { create: never, renew: never, stop: never, idOf: never, reapLapsed: never },
    certificates: {
      lease: never,
      release: never,
      present: never,
      findChallenge: never,
      recipients: never,
      share: never,
      report: never,
      list: async () => [
        {
          proxyId: asId('gw-1'),
          cluster: 'edge.test',
          status: {
            names: ['app.edge.test'],
            source: 'acme',
            state: 'failed',
            reason: 'no such host',
            issuer: 'ca.test',
            notBefore: undefined,
            notAfter: undefined,
            nextAction: 'order',
            nextAt: '2026-11-22T00:00:00.000Z',
          },
        },
      ],
    },
    peers: {
      login: never,
      extendSession: never,
      self: never,
      isKnown: never,
      updateMeta: never,
      setConnected: never,
      logout: never,
      registerProxyPeer: never,
      reapAbandoned: never,
      list: peers.list,
      get: peers.get,
      async rename(peerId, name, actor) {
        note('peers.rename', actor, name);
        return peers.put({ ...(await peers.get(peerId)), name });
      },
      async setLoginExpiration(peerId, enabled, actor) {
        note('peers.setLoginExpiration', actor, enabled);
        return peers.put({ ...(await peers.get(peerId)), loginExpirationEnabled: enabled });
      },
      async delete(peerId, actor) {
        note('peers.delete', actor, peerId);
        await peers.remove(peerId);
      },
    },
    maps: { build: never },
    changes: { subscribe: () => () => undefined },
    users: {
      setupRequired: async () => state.setupRequired,
      setupCode: async () => (state.setupRequired ? 'code-1' : undefined),
      async setup({ code, email, password, name }) {
        if (code !== 'code-1') throw domainError('DOMAIN_CODE_WRONG');
        state.setupRequired = false;
        const user = makeUser(email, name, 'owner');
        passwords.set(user.id, password);
        return user;
      },
      list: users.list,
      get: users.get,
      async create(request, actor) {
        note('users.create', actor, request);
        if ([...users.rows.values()].some((user) => user.email === request.email && request.email !== '')) throw domainError('DOMAIN_TAKEN');
        const user = users.put({ ...makeUser(request.email, request.name, request.role, request.service), autoGroups: request.autoGroups });
        const password = request.service ? undefined : (request.password ?? 'generated-password');
        if (password !== undefined) passwords.set(user.id, password);
        return { user, password };
      },
      async update(userId, change, actor) {
        note('users.update', actor, change);
        return users.put({ ...(await users.get(userId)), ...change });
      },
      async setPassword(userId, password, actor) {
        note('users.setPassword', actor, userId);
        passwords.set(userId, password);
      },
      async delete(userId, actor) {
        note('users.delete', actor, userId);
        await users.remove(userId);
      },
      async checkPassword(email, password) {
        const user = [...users.rows.values()].find((candidate) => candidate.email === email);
        return user !== undefined && passwords.get(user.id) === password ? user : undefined;
      },
      fromConnector: never,
      ofSubject: never,
      groupNames: async () => [],
    },
    issuers: issuerTable,
    factors: {
      state: async () => ({ totp: false, totpLocked: false, recoveryLeft: 0, passkeys: [] }),
      beginTotp: never,
      confirmTotp: never,
      checkTotp: never,
      checkRecovery: never,
      newRecovery: never,
      removeTotp: never,
      passkey: never,
      addPasskey: never,
      usePasskey: never,
      renamePasskey: never,
      removePasskey: never,
      reset: async (userId, actor) => note('factors.reset', actor, userId),
    },
    tokens: {
      list: async (userId) => [...tokens.rows.values()].filter((token) => token.userId === userId),
      async get(userId, tokenId) {
        const token = await tokens.get(tokenId);
        if (token.userId !== userId) throw domainError('DOMAIN_MISSING');
        return token;
      },
      async create(userId, name, days, actor) {
        note('tokens.create', actor, { userId, name });
        const { plain, ...token } = makeToken(userId, name, days, actorUser(actor));
        return { token, plain };
      },
      async delete(userId, tokenId, actor) {
        note('tokens.delete', actor, tokenId);
        if ((await tokens.get(tokenId)).userId !== userId) throw domainError('DOMAIN_MISSING');
        await tokens.remove(tokenId);
      },
      async verify(plain) {
        const token = [...tokens.rows.values()].find((candidate) => candidate.plain === plain);
        const user = token === undefined ? undefined : users.rows.get(token.userId);
        return user?.blocked === true ? undefined : user;
      },
      listProxy: proxyTokens.list,
      async createProxy({ name, expiresInSeconds, cluster }, actor) {
        note('tokens.createProxy', actor, name);
        const expiresAt = expiresInSeconds === 0 ? undefined : start + expiresInSeconds * 1000;
        const token = { id: asId<ProxyToken['id']>(id('x')), name, createdAt: start, expiresAt, lastUsed: undefined, revoked: false, cluster };
        return { token: proxyTokens.put(token), plain: `nbx_${name}` };
      },
      async revokeProxy(tokenId, actor) {
        note('tokens.revokeProxy', actor, tokenId);
        proxyTokens.put({ ...(await proxyTokens.get(tokenId)), revoked: true });
      },
      verifyProxy: never,
    },
    setupKeys: {
      list: keys.list,
      get: keys.get,
      async create(request, actor) {
        note('setupKeys.create', actor, request);
        const { expiresInSeconds, ...rest } = request;
        const expiresAt = expiresInSeconds === 0 ? undefined : start + expiresInSeconds * 1000;
        const times = { expiresAt, createdAt: start, updatedAt: start, lastUsed: undefined };
        const key = keys.put({ id: asId(id('k')), ...rest, ...times, hint: 'ABCD****', revoked: false, usedTimes: 0 });
        return { key, plain: 'ABCDEF00-0000-4000-8000-000000000000' };
      },
      async update(keyId, change, actor) {
        note('setupKeys.update', actor, change);
        return keys.put({ ...(await keys.get(keyId)), ...change });
      },
      async delete(keyId, actor) {
        note('setupKeys.delete', actor, keyId);
        await keys.remove(keyId);
      },
    },
    groups: {
      list: groups.list,
      get: groups.get,
      async create(request, actor) {
        note('groups.create', actor, request);
        if ([...groups.rows.values()].some((group) => group.name === request.name)) throw domainError('DOMAIN_TAKEN');
        return groups.put({ id: asId(id('g')), ...request, resources: request.resources ?? [], system: false });
      },
      async update(groupId, request, actor) {
        note('groups.update', actor, request);
        const old = await groups.get(groupId);
        return groups.put({ ...old, ...request, resources: request.resources ?? old.resources });
      },
      async delete(groupId, actor) {
        note('groups.delete', actor, groupId);
        await groups.remove(groupId);
      },
    },
    policies: {
      list: policies.list,
      get: policies.get,
      async create(request, actor) {
        note('policies.create', actor, request);
        return policies.put({ id: asId(id('p')), ...request, rules: request.rules.map((rule) => ({ id: id<string>('r'), ...rule })) });
      },
      async update(policyId, request, actor) {
        note('policies.update', actor, request);
        await policies.get(policyId);
        return policies.put({ id: policyId, ...request, rules: request.rules.map((rule) => ({ id: id<string>('r'), ...rule })) });
      },
      async delete(policyId, actor) {
        note('policies.delete', actor, policyId);
        await policies.remove(policyId);
      },
    },
    // What they do is tested over the real domain.
    networks: { list: async () => [], get: never, create: never, update: never, delete: never },
    resources: { list: async () => [], get: never, create: never, update: never, delete: never },
    routers: { list: async () => [], get: never, create: never, update: never, delete: never },
    routes: { list: async () => [], get: never, create: never, update: never, delete: never },
    nameservers: { list: async () => [], get: never, create: never, update: never, delete: never, settings: never, setSettings: never },
    posture: { list: async () => [], get: never, create: never, update: never, delete: never },
    zones: {
      list: async () => [],
      get: never,
      create: never,
      update: never,
      delete: never,
      records: async () => [],
      record: never,
      createRecord: never,
      updateRecord: never,
      deleteRecord: never,
    },
    services: {
      list: services.list,
      get: services.get,
      signsInAt: async () => false,
      issuersAt: never,
      async create(request, actor) {
        note('services.create', actor, request);
        return services.put(serviceOf(asId(id('s')), request));
      },
      async update(serviceId, request, actor) {
        note('services.update', actor, request);
        await services.get(serviceId);
        return services.put(serviceOf(serviceId, request));
      },
      async delete(serviceId, actor) {
        note('services.delete', actor, serviceId);
        await services.remove(serviceId);
      },
      mappings: async () => [],
      mapping: async () => undefined,
      reportStatus: never,
    },
    clusters: {
      clusters: async () => [{ id: 'c1', address: 'proxy.test:8443', online: true, connectedProxies: 2 }],
      deleteCluster: async (address, actor) => note('clusters.deleteCluster', actor, address),
      domains: domains.list,
      async createDomain(name, cluster, actor) {
        note('clusters.createDomain', actor, name);
        return domains.put({ id: id('d'), domain: name, type: 'custom', cluster, validated: false });
      },
      async deleteDomain(domainId, actor) {
        note('clusters.deleteDomain', actor, domainId);
        await domains.remove(domainId);
      },
      async validateDomain(domainId) {
        domains.put({ ...(await domains.get(domainId)), validated: true });
      },
      recheckDomains: never,
      proxyConnected: never,
      proxyHeartbeat: never,
      proxyDisconnected: never,
    },
    sessions: {
      create: never,
      find: never,
      end: never,
      async list(userId) {
        note('sessions.list', undefined, userId);
        return [];
      },
      revoke: async (id, of, actor) => note('sessions.revoke', actor, { id, of }),
      endOfSignIn: never,
      endAllOf: async (userId, actor) => note('sessions.endAllOf', actor, userId),
      verifyServiceToken: never,
    },
    proofs: { prove: never, verify: never },
    links: {
      list: async () => [shareLink],
      async create(serviceId, request, actor) {
        note('links.create', actor, { serviceId, ...request });
        return { link: { ...shareLink, label: request.label, uses: request.uses }, plain: 'code-of-the-link', origin: 'https://app.test:8443' };
      },
      revoke: async (serviceId, id, actor) => note('links.revoke', actor, { serviceId, id }),
    },
    minted: { authorities: { client: '', ssh: '' }, mintTls: never, mintSsh: never, list: never, revoke: never },
    devices: {
      async list(userId) {
        note('devices.list', undefined, userId);
        return [
          {
            id: 'd1',
            name: 'TV',
            userId: asId('u9'),
            email: 'bob@x.test',
            serviceId: asId('s1'),
            domain: 'app.test',
            createdAt: start,
            lastUsed: undefined,
          },
        ];
      },
      revoke: async (id, of, actor) => note('devices.revoke', actor, { id, of }),
      pair: never,
      listAt: never,
      revokeAt: never,
    },
    events: {
      audit: async () => [
        {
          id: 'e1',
          timestamp: start,
          activityCode: 'user.create',
          activity: 'User created',
          initiatorId: 'u1',
          initiatorName: 'Ann',
          initiatorEmail: 'ann@x.test',
          targetId: 'u2',
          meta: { email: 'b@x.test' },
        },
      ],
      record: never,
      addAccess: never,
      async accessLog(query: AccessLogQuery) {
        note('events.accessLog', undefined, query);
        const found = access.filter((entry) => query.method === undefined || entry.method === query.method);
        return { entries: found.slice((query.page - 1) * query.pageSize, query.page * query.pageSize), total: found.length };
      },
    },
    vault: { get: async () => undefined, set: never, take: never, delete: never, deletePrefix: never },
    close: async () => undefined,
  };

  function serviceOf(serviceId: Service['id'], request: Parameters<ControlDomain['services']['create']>[0]): Service {
    const { auth } = request;
    return {
      ...request,
      id: serviceId,
      accountId: domain.accountId,
      portAutoAssigned: false,
      cluster: 'proxy.test:8443',
      auth: {
        oidc: auth.oidc,
        password: auth.password && { enabled: auth.password.enabled, hash: 'HASH' },
        pin: auth.pin && { enabled: auth.pin.enabled, hash: 'HASH' },
        headers: auth.headers.map(({ enabled, header }) => ({ enabled, header, hash: 'HASH' })),
      },
      createdAt: start,
      certificateIssuedAt: undefined,
      status: { state: 'pending', reason: 'no gateway yet' },
    };
  }

  const state: FakeDomain = {
    domain,
    calls,
    setupRequired: true,
    addUser(name, role, more = {}) {
      const user = users.put({ ...makeUser(`${name}@x.test`, name, role), ...more });
      passwords.set(user.id, `${name}-password`);
      return { user, token: makeToken(user.id, name, 30, user.id).plain };
    },
    addPeer(name, more = {}) {
      const publicKey = parsePublicKey(Buffer.alloc(32, ++counter).toString('base64')) as PublicKey;
      const meta = { hostname: name, os: 'linux', osVersion: '13', kernel: '6.12', platform: 'x64', version: '0.1.0', uiVersion: '', ipv6: true };
      return peers.put({
        id: asId(id('peer')),
        publicKey,
        name,
        dnsLabel: name,
        ipv4: `100.64.0.${counter}`,
        ipv6: `fd00::${counter}`,
        meta,
        userId: undefined,
        loginExpirationEnabled: false,
        loginExpired: false,
        ephemeral: false,
        proxyCluster: undefined,
        connected: true,
        connectionIp: '192.0.2.1',
        lastSeen: start,
        lastLogin: start,
        createdAt: start,
        ...more,
      });
    },
    addAccess(entry) {
      access.push({
        id: id('a'),
        serviceId: asId('s1'),
        timestamp: start,
        protocol: 'http',
        method: 'GET',
        host: 'app.test',
        path: '/',
        durationMs: 1.4,
        status: 200,
        sourceIp: '192.0.2.7',
        userId: '',
        authMethod: 'oidc',
        authSuccess: true,
        bytesUp: 1,
        bytesDown: 2,
        reason: 'session',
        ...entry,
      });
    },
  };
  return state;
}
