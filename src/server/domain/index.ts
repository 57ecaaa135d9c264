// The door of the control plane's domain: opens the store, makes the account where there is none, and hands out the use cases.
import { randomBytes } from 'node:crypto';
import { resolveCname as systemResolveCname, resolveTxt as systemResolveTxt } from 'node:dns/promises';
import { PasswordHasher } from '#crypto/password.ts';
import { utf8 } from '#lib/bytes.ts';
import type { Clock } from '#lib/clock.ts';
import { startScoped } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import type { AccountId, GroupId } from '#model/ids.ts';
import type { Issuer } from '#model/issuer.ts';
import { openStore, type Store } from '../store/store.ts';
import type { StoreTimes } from '../store/timed-database.ts';
import { newNetwork } from './addresses.ts';
import { agentDoorUseCases, type AgentDoorUseCases } from './agent-doors.ts';
import { openAuthorities } from './authorities.ts';
import { certificateUseCases } from './certificates.ts';
import { Changes } from './changes.ts';
import { canonicalHost } from './checks.ts';
import { clusterUseCases } from './clusters.ts';
import { defaultLimits, exposureTtlMs, serverGoneMs, type DomainLimits } from './constants.ts';
import type { Account, Context } from './context.ts';
import type { ControlDomain, ServiceUseCases } from './contract.ts';
import type { DomainResolvers } from './domain-proof.ts';
import { domainError, invalid } from './errors.ts';
import { eventUseCases } from './events.ts';
import { factorUseCases } from './factors.ts';
import { exposureUseCases } from './exposures.ts';
import { allGroupName, groupUseCases } from './groups.ts';
import { newId, type RandomBytes } from './ids.ts';
import { issuerUseCases } from './issuers.ts';
import { mapUseCases } from './maps.ts';
import { mintedUseCases } from './minted.ts';
import { nameserverUseCases } from './nameservers.ts';
import { resourceUseCases } from './network-resources.ts';
import { routerUseCases } from './network-routers.ts';
import { networkUseCases } from './networks.ts';
import { diagnosisUseCases } from './diagnoses.ts';
import { OneTimeTokens } from './one-time-tokens.ts';
import { peerUseCases } from './peers.ts';
import { routeUseCases } from './planned-routes.ts';
import { policyUseCases } from './policies.ts';
import { postureUseCases } from './posture.ts';
import { Sealer } from './seal.ts';
import { MapSerial } from './serial.ts';
import { deviceUseCases } from './devices.ts';
import { linkUseCases } from './links.ts';
import { proofUseCases } from './proofs.ts';
import { serviceUseCases, type ServiceSessionKeys } from './services.ts';
import { sessionUseCases } from './sessions.ts';
import { SessionTime } from './session-time.ts';
import { settingsUseCases } from './settings.ts';
import { setupKeyUseCases } from './setup-keys.ts';
import { tokenUseCases } from './tokens.ts';
import { userUseCases } from './users.ts';
import { vaultUseCases } from './vault.ts';
import { zoneUseCases } from './zones.ts';
import { visitorUseCases } from './visitors.ts';

export type { ControlDomain } from './contract.ts';

export interface ControlDomainOptions {
  /** `sqlite:PATH`, `sqlite::memory:` or `postgres://…`. */
  readonly storeUrl: string;
  /** 32 bytes; encrypts secrets at rest. A database opens only with the key it was made with. */
  readonly masterKey: Uint8Array;
  /** The domain below which peers have their names. */
  readonly dnsDomain: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** Cryptographically strong random bytes; Node's where left out. */
  readonly random?: RandomBytes;
  /** CNAMEs of a name, for custom domains; the system's resolver where left out. Each look-up has 10 s. */
  readonly resolveCname?: DomainResolvers['cname'];
  /** TXT records likewise. */
  readonly resolveTxt?: DomainResolvers['txt'];
  readonly limits?: Partial<DomainLimits>;
  /** Issuers of the configuration. */
  readonly issuers?: readonly Issuer[];
  /** An exposed service lives on so long without a renewal; 90 s where left out. */
  readonly exposureTtlMs?: number;
  /** Hashes passwords and PINs; one of its own where left out. */
  readonly hasher?: PasswordHasher;
}

/** The contract, and what only stock proxies and monitoring need. */
export interface OpenControlDomain extends ControlDomain {
  readonly storeTimes: StoreTimes;
  /** Whether the database answers; rejects where it does not. */
  ping(): Promise<void>;
  readonly services: ServiceUseCases & ServiceSessionKeys;
  readonly agentDoors: AgentDoorUseCases;
}

/** Opens the control plane's state. DOMAIN_MASTER_KEY_WRONG, STORE_URL_INVALID, STORE_UNAVAILABLE, STORE_IN_USE, STORE_TOO_NEW. */
export async function openControlDomain(options: ControlDomainOptions): Promise<OpenControlDomain> {
  const { clock, log, masterKey, random = (length) => randomBytes(length) } = options;
  const dnsDomain = canonicalHost(options.dnsDomain);
  if (dnsDomain === undefined) throw invalid('The DNS domain of the network is not a domain name.');
  return await startScoped(async (scope) => {
    const sealer = new Sealer(masterKey, random);
    const store = scope.use(await openStore(options.storeUrl, log));
    const account = await openAccount(store, sealer, clock, random);
    const authorities = await openAuthorities(store, sealer, clock);
    const serverId = newId(random);
    await register(store, serverId, clock);
    const changes = scope.use(new Changes(store, serverId, await store.tables.account.counter('change'), log));
    const serial = new MapSerial(store, await store.tables.account.counter('serial'));
    const limits = { ...defaultLimits, ...options.limits };
    const hasher = options.hasher ?? new PasswordHasher();
    const ttlMs = options.exposureTtlMs ?? exposureTtlMs;
    // While no server was there nobody could renew; what lapsed beside another one is gone already.
    await store.tables.exposures.extendAll(clock.wall() + ttlMs);
    const context: Context = {
      account,
      dnsDomain,
      store,
      clock,
      log,
      random,
      limits,
      hasher,
      sealer,
      authorities,
      changes,
      serial,
      configuredIssuers: options.issuers ?? [],
      sessionTime: new SessionTime(clock),
      serverId,
      exposureTtlMs: ttlMs,
    };
    const maps = mapUseCases(context);
    const oneTimeTokens = new OneTimeTokens(clock, random, limits.oneTimeTokens);
    const resolvers = { cname: options.resolveCname ?? systemResolveCname, txt: options.resolveTxt ?? systemResolveTxt };
    const sessions = sessionUseCases(context);
    return {
      accountId: account.id,
      dnsDomain,
      settings: settingsUseCases(context),
      peers: peerUseCases(context, oneTimeTokens),
      maps,
      changes,
      users: userUseCases(context),
      factors: factorUseCases(context),
      issuers: issuerUseCases(context),
      tokens: tokenUseCases(context),
      setupKeys: setupKeyUseCases(context),
      groups: groupUseCases(context),
      policies: policyUseCases(context),
      networks: networkUseCases(context),
      resources: resourceUseCases(context),
      routers: routerUseCases(context),
      routes: routeUseCases(context),
      nameservers: nameserverUseCases(context),
      zones: zoneUseCases(context),
      posture: postureUseCases(context),
      services: serviceUseCases(context, oneTimeTokens),
      exposures: exposureUseCases(context, maps),
      clusters: clusterUseCases(context, resolvers),
      certificates: certificateUseCases(context),
      diagnoses: diagnosisUseCases(context),
      sessions,
      visitors: visitorUseCases(context),
      proofs: proofUseCases(context),
      links: linkUseCases(context),
      devices: deviceUseCases(context, sessions),
      agentDoors: agentDoorUseCases(context),
      minted: mintedUseCases(context),
      events: eventUseCases(context),
      vault: vaultUseCases(context),
      storeTimes: store.times,
      ping: async () => {
        await store.tables.account.counter('serial');
      },
      close: () => scope.close(),
    };
  });
}

const keyCheckPlace = 'master key check';
const keyCheckText = 'meshgate';

/** The account of this database, made at the first start: a network of its own, the group All, and no policy. */
async function openAccount(store: Store, sealer: Sealer, clock: Clock, random: RandomBytes): Promise<Account> {
  return await store.write(async (tables) => {
    const known = await tables.account.find();
    if (known !== undefined) {
      try {
        sealer.open(keyCheckPlace, known.keyCheck);
      } catch (error) {
        throw domainError('DOMAIN_MASTER_KEY_WRONG', '', error);
      }
      return known;
    }
    const network = newNetwork(random);
    const account = {
      id: newId<AccountId>(random),
      networkV4: network.v4,
      networkV6: network.v6,
      keyCheck: sealer.seal(keyCheckPlace, utf8(keyCheckText)),
      createdAt: clock.wall(),
    };
    await tables.account.insert(account);
    await tables.groups.insert({ id: newId<GroupId>(random), name: allGroupName, peers: [], resources: [], system: true });
    return account;
  });
}

/** Nobody else can have an SQLite file open, so whoever was connected through an earlier process is not any more. */
async function register(store: Store, serverId: string, clock: Clock): Promise<void> {
  await store.write(async (tables) => {
    const now = clock.wall();
    await tables.account.forgetServers(store.shared ? now - serverGoneMs : now + 1, now);
    await tables.account.serverAlive(serverId, now);
    // Peers ignore maps with a lower serial than they have seen. After a database was brought back from a copy its counter is behind
    // theirs, and they would keep policies that are gone; the time of day is ahead of any counter of changes.
    await tables.account.raise('serial', Math.floor(now / 1_000));
  });
}
