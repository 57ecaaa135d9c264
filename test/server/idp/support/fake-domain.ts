// The part of the control domain that the identity provider uses, in memory. The vault outlives a provider, as a database would.
import { defineErrors } from '#lib/errors.ts';
import { asId, type UserId } from '#model/ids.ts';
import type { User } from '#model/identity.ts';
import type { IdentityProviderOptions } from '#server/idp/types.ts';
import type { Clock } from '#lib/clock.ts';

export type FakeDomain = IdentityProviderOptions['domain'] & {
  readonly entries: Map<string, { readonly value: Uint8Array; readonly expiresAt: number | undefined }>;
  readonly linked: Map<string, UserId>;
  add(user: {
    readonly id: string;
    readonly email: string;
    readonly name: string;
    readonly password?: string;
    readonly groups?: readonly string[];
  }): User;
  change(id: UserId, change: Partial<User>): void;
  passwordChecks: number;
  readonly endedSignIns: string[];
  readonly endedUsers: string[];
};

const domainError = defineErrors('fake-domain', {
  DOMAIN_NOT_FOUND: { text: 'There is no such user.', origin: 'input', retry: false, status: 404 },
  DOMAIN_USER_BLOCKED: { text: 'This user is blocked.', origin: 'input', retry: false, status: 403 },
  DOMAIN_SETUP_DONE: { text: 'The first user is set up already.', origin: 'input', retry: false, status: 409 },
  DOMAIN_SETUP_CODE_WRONG: { text: 'The one-time code is wrong.', origin: 'input', retry: false, status: 403 },
  NOT_IN_THE_FAKE: { text: 'The fake domain does not do this.', origin: 'internal', retry: false, status: 500 },
});

export function createFakeDomain(clock: Clock): FakeDomain {
  const users = new Map<UserId, User>();
  const passwords = new Map<string, { readonly id: UserId; readonly password: string }>();
  const groups = new Map<UserId, readonly string[]>();
  const entries: FakeDomain['entries'] = new Map();
  const linked: FakeDomain['linked'] = new Map();
  const missing = async (): Promise<never> => {
    throw domainError('NOT_IN_THE_FAKE');
  };
  const get = async (id: UserId): Promise<User> => {
    const user = users.get(id);
    if (user === undefined) throw domainError('DOMAIN_NOT_FOUND', id);
    return user;
  };

  const settings = {
    loginExpirationEnabled: true,
    loginExpirationMs: 86_400_000,
    routingPeerDns: true,
    lazyConnections: false,
    expose: { enabled: false, groups: [], public: false, domains: [], perPeer: 10 },
    sessionMaxAgeMs: 86_400_000,
    sessionIdleMs: 0,
    secondFactorRequired: false,
  };

  const domain: FakeDomain = {
    entries,
    linked,
    passwordChecks: 0,
    endedSignIns: [],
    endedUsers: [],
    add({ id, email, name, password, groups: names = [] }) {
      const user: User = {
        id: asId<UserId>(id),
        email,
        name,
        role: 'user',
        blocked: false,
        service: false,
        autoGroups: [],
        connector: 'local',
        createdAt: clock.wall(),
        lastLogin: undefined,
      };
      users.set(user.id, user);
      groups.set(user.id, names);
      if (password !== undefined) passwords.set(email, { id: user.id, password });
      return user;
    },
    change(id, change) {
      const user = users.get(id);
      if (user !== undefined) users.set(id, { ...user, ...change });
    },
    users: {
      setupRequired: async () => users.size === 0,
      setupCode: async () => (users.size === 0 ? 'one-time-code' : undefined),
      async setup({ code, email, password, name }) {
        if (users.size > 0) throw domainError('DOMAIN_SETUP_DONE');
        if (code !== 'one-time-code') throw domainError('DOMAIN_SETUP_CODE_WRONG');
        return domain.add({ id: 'owner', email, name, password });
      },
      list: async () => [...users.values()],
      get,
      create: missing,
      update: missing,
      setPassword: missing,
      delete: missing,
      async checkPassword(email, password) {
        domain.passwordChecks++;
        const known = passwords.get(email);
        if (known === undefined || known.password !== password) return undefined;
        const user = await get(known.id);
        return user.blocked ? undefined : user;
      },
      ofSubject: async (connector, subject) => linked.get(`${connector} ${subject}`),
      async fromConnector({ connector, subject, email, name }) {
        const key = `${connector} ${subject}`;
        const id = linked.get(key) ?? domain.add({ id: `ext-${linked.size + 1}`, email, name }).id;
        linked.set(key, id);
        domain.change(id, { connector });
        const user = await get(id);
        if (user.blocked) throw domainError('DOMAIN_USER_BLOCKED');
        return { user, regrouped: false };
      },
      groupNames: async (id) => groups.get(id) ?? [],
    },
    factors: {
      state: async () => ({ totp: false, totpLocked: false, recoveryLeft: 0, passkeys: [] }),
      passkey: async () => undefined,
      beginTotp: missing,
      confirmTotp: missing,
      checkTotp: missing,
      checkRecovery: missing,
      newRecovery: missing,
      removeTotp: missing,
      addPasskey: missing,
      usePasskey: missing,
      renamePasskey: missing,
      removePasskey: missing,
      reset: missing,
    },
    issuers: { list: async () => [], get: missing, create: missing, update: missing, delete: missing, secret: async () => undefined },
    settings: { get: async () => settings, update: missing },
    sessions: {
      create: missing,
      find: missing,
      end: missing,
      list: async () => [],
      revoke: missing,
      endOfSignIn: async (signIn) => void domain.endedSignIns.push(signIn),
      endAllOf: async (userId) => void domain.endedUsers.push(userId),
      verifyServiceToken: missing,
    },
    vault: {
      async get(key) {
        const entry = entries.get(key);
        return entry === undefined || (entry.expiresAt !== undefined && entry.expiresAt <= clock.wall()) ? undefined : entry.value;
      },
      async set(key, value, expiresAt) {
        entries.set(key, { value: new Uint8Array(value), expiresAt });
      },
      async take(key) {
        const value = await this.get(key);
        entries.delete(key);
        return value;
      },
      async delete(key) {
        entries.delete(key);
      },
      async deletePrefix(prefix) {
        for (const key of entries.keys()) if (key.startsWith(prefix)) entries.delete(key);
      },
    },
  };
  return domain;
}
