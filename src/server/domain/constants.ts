// The limits and times of domain/. What an operator may want to move is in `DomainLimits`; the rest is fixed.

const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

/** How many of each thing an account may hold. */
export interface DomainLimits {
  readonly peers: number;
  readonly groups: number;
  readonly policies: number;
  readonly setupKeys: number;
  readonly networks: number;
  readonly resources: number;
  readonly routers: number;
  readonly routes: number;
  readonly nameserverGroups: number;
  readonly zones: number;
  readonly zoneRecords: number;
  readonly postureChecks: number;
  readonly users: number;
  readonly tokensPerUser: number;
  readonly proxyTokens: number;
  readonly services: number;
  readonly clusters: number;
  readonly domains: number;
  /** Live sessions of one user over all services; the oldest is ended for a new one. */
  readonly sessionsPerUser: number;
  /** Live sessions at one service of people without an account; the oldest is ended for a new one. */
  readonly namelessPerService: number;
  /** One-time gateway tokens in memory; the oldest goes first. */
  readonly oneTimeTokens: number;
  /** Names whose failed sign-ins are remembered; the least recent goes first. */
  readonly attemptNames: number;
  /** Counts of wrong secrets of services; the longest unchanged go first. */
  readonly proofAttempts: number;
  /** Rows of the access log; the oldest go first. */
  readonly accessLogRows: number;
}

export const defaultLimits: DomainLimits = {
  peers: 60_000,
  groups: 10_000,
  policies: 5_000,
  setupKeys: 10_000,
  networks: 1_000,
  resources: 5_000,
  routers: 2_000,
  routes: 2_000,
  nameserverGroups: 500,
  zones: 500,
  zoneRecords: 10_000,
  postureChecks: 200,
  users: 50_000,
  tokensPerUser: 100,
  proxyTokens: 1_000,
  services: 20_000,
  clusters: 200,
  domains: 5_000,
  sessionsPerUser: 500,
  namelessPerService: 10_000,
  oneTimeTokens: 200_000,
  attemptNames: 10_000,
  proofAttempts: 100_000,
  accessLogRows: 1_000_000,
};

/** How long a sign-in of a peer's user lasts, unless the settings say otherwise; the settings may say from an hour to half a year. */
export const defaultLoginExpirationMs = day;
export const minLoginExpirationMs = hour;
export const maxLoginExpirationMs = 180 * day;

/** Characters of a name that somebody types. */
export const nameLength = 255;

/** Characters of a description. */
export const descriptionLength = 1_000;

export const rulesPerPolicy = 100;
export const portsPerRule = 100;
export const groupsPerList = 500;

/** Metrics of routes and routers: the lowest wins. */
export const minMetric = 1;
export const maxMetric = 9_999;

/** A route's name, and its domains (netbird-features B3). */
export const routeNameLength = 40;
export const domainsPerRoute = 32;

/** Name servers of a group, its name, and its domains. */
export const nameserversPerGroup = 3;
export const nameserverNameLength = 40;
export const domainsPerNameserverGroup = 100;

/** Seconds that a record of a zone may be kept at most, and the characters of what it says. */
export const recordTtlMax = 7 * 86_400;
export const recordContentLength = 255;

/** Ranges and programs of a posture check, checks of a policy, and the characters of a program's path. */
export const rangesPerCheck = 100;
export const processesPerCheck = 20;
export const checksPerPolicy = 10;
export const processPathLength = 255;

/** Bytes of a peer's own description of itself, as JSON. */
export const peerMetaBytes = 32 * 1024;

/** An ephemeral or gateway peer that is away this long is removed. */
export const abandonedMs = 10 * minute;

/** A server that has not called `reapAbandoned` for this long is taken for dead, and what was connected to it for gone. */
export const serverGoneMs = 5 * minute;

/** A gateway without a heartbeat for this long is not online (netbird-wire §6.2, step 10). */
export const proxyLiveMs = 2 * minute;

/** A gateway without a heartbeat for this long is forgotten, and what it said of services with it. */
export const proxyForgottenMs = hour;

/** Life of a one-time token for `CreateProxyPeer`. */
export const oneTimeTokenMs = 5 * minute;

/** Life of a session at a service where neither account nor service say, and what they may say. */
export const defaultSessionMaxAgeMs = day;
export const minSessionMaxAgeMs = 5 * minute;
export const maxSessionMaxAgeMs = 90 * day;

/** Least time without a request that may end a session: gateways ask again after up to a minute and a half, which must not look like silence. */
export const minSessionIdleMs = 5 * minute;

/** How far a gateway's questions lag behind the requests: a session that is in use is asked for within this time. */
export const sessionUseLagMs = 150 * second;

/** A session that seems to have been made this far in the future was made by a clock that was wrong. */
export const sessionClockToleranceMs = 5 * minute;

/** Sessions that a list shows at most. */
export const sessionsListed = 1_000;

/** Wrong passwords for one name before it has to wait, then the first and the longest wait. */
export const freeAttempts = 5;
export const firstAttemptDelayMs = second;
export const maxAttemptDelayMs = minute;

/** Wrong attempts are forgotten after this long without another. */
export const attemptMemoryMs = hour;

/** What an exposed service lives on without a renewal, unless the server is told otherwise (netbird-features A14). */
export const exposureTtlMs = 90 * second;
/** How long after its lease an exposure that somebody else ended is remembered, for its peer to learn of it. */
export const withdrawnKeptMs = hour;
/** Exposed services of one peer, unless the settings say otherwise (netbird-features A14), and what those may say. */
export const defaultExposuresPerPeer = 10;
export const maxExposuresPerPeer = 200;
/** Domains in the settings below which peers choose names. */
export const maxExposeDomains = 50;
/** The longest that an exposure may be asked to last. */
export const exposureMaxMs = 365 * day;

/** Codes of an app: steps before and after now whose codes count, wrong ones in a row that lock them, and how long a new secret waits for its first code. */
export const totpDriftSteps = 1;
export const totpLockAfter = 50;
export const totpEnrolmentMs = 15 * minute;

/** Recovery codes made at a time, of 80 bits each, and passkeys of one user. */
export const recoveryCodes = 10;
export const passkeysPerUser = 20;

/** External issuers, claims of one that are kept, and groups that its claim may stand for; characters and values of a claim. */
export const issuersMax = 100;
export const claimsPerIssuer = 16;
export const groupsPerIssuer = 500;

export const passwordMinLength = 8;

/** Longest life of a personal token. */
export const tokenMaxDays = 365;

/** How precise "last used" is: a token that is used all the time is written this often. */
export const lastUsedPrecisionMs = minute;

/** Milliseconds that a password check may wait for its turn and run. */
export const passwordDeadlineMs = 10 * second;

/** Milliseconds for one DNS lookup of a custom domain. */
export const cnameDeadlineMs = 10 * second;

export const accessLogRetentionMs = 7 * day;
export const auditRetentionMs = 365 * day;

/** Audit events returned at most. */
export const auditPage = 5_000;

/** Entries of the access log taken in one call, and returned on one page. */
export const accessBatch = 5_000;
export const accessPageSize = 100;

/** Bytes of one vault value, and characters of its key. */
export const vaultValueBytes = 256 * 1024;
export const vaultKeyLength = 512;

/** Limits of a service (netbird-features A1, A2). */
export const targetsPerService = 100;
export const pathLength = 1_024;
export const customHeadersPerTarget = 16;
export const headerAuthsPerService = 16;
export const basicUsersPerService = 100;
export const cidrsPerList = 200;
export const countriesPerList = 50;
export const autoPortFirst = 10_000;
export const autoPortLast = 49_151;
export const targetTimeoutMaxMs = day;

/** How long a gateway is the only one of its cluster that orders some names, milliseconds; longer than a gateway lets an order take. */
export const certificateLeaseMs = 10 * minute;
/** Leases of one cluster at a time; gateways wait for more. */
export const maxLeases = 1_000;
/** Names of a certificate, and challenge answers of an order. */
export const maxCertificateNames = 100;
/** Sealed copies of one certificate, and bytes of each. */
export const maxSealedCopies = 64;
export const maxSealedBytes = 65_536;
/** Certificates that one gateway can tell the state of: as many as it keeps, automatic ones and its own. */
export const maxCertificateStates = 20_000;
/** How long the key of a gateway that orders nothing is kept, milliseconds. */
export const sealKeyKeptMs = 180 * day;

/** How often the proof of a custom domain is looked at again, and for how long it may be missing, milliseconds. */
export const domainRecheckMs = day;
export const domainToleranceMs = 7 * day;
/** Domains that one round looks at, one after another. */
export const domainsInRecheck = 20;

/** Of one service's access policy, and entries of each kind in a rule's condition. Ten rules cost a request microseconds; hundreds are a mistake. */
export const rulesPerService = 100;
export const entriesPerCondition = 200;
export const rateLimitsPerService = 8;
export const proofAlternatives = 16;

/** Credentials that were right, by digests: while they stay so, nobody has to wait for what others get wrong. The longest unused go first. */
export const provenCredentials = 10_000;

/** How long a session lives that has not proven yet all that its service asks for. */
export const unfinishedSessionMs = 15 * minute;

/** Share links of one service, those that are over included; how long one may live, and how long it stays in the list after that. */
export const linksPerService = 500;
export const linkMaxMs = 90 * day;
export const linkMaxUses = 10_000;
export const linksKeptMs = 30 * day;

/** Life of the account's certificate authorities, and how far before now a certificate begins, for clocks that are behind. */
export const authorityMs = 3_650 * day;
export const certificateSkewMs = minute;

/** Live certificates that one user may have at once, those that one list tells, and the longest life of one. */
export const certificatesPerUser = 500;
export const certificatesListed = 5_000;
export const certificateMaxMs = hour;
/** What was opened with one may live on this long at most, as long as a session can. */
export const certificatesKeptMs = 90 * day;

/** Names of users of SSH servers: what `useradd` takes, and dots. */
export const sshPrincipalPattern = /^[a-z_][a-z0-9_.-]{0,31}$/;
export const sshPrincipals = 20;

/** Devices that one user may have paired with one service, and those that one list tells. */
export const devicesPerUser = 50;
export const devicesListed = 5_000;

/** How long a browser counts as known at a service after it has proven something there. */
export const knownBrowserMs = 90 * day;

/**
 * Wrong secrets: how many are free, the first wait after that, which each further one doubles, the longest wait, and how long nothing is
 * forgotten. Of a PIN all strangers together get 25 guesses in the first twelve hours, then four a day: 0.005 % of the space of six digits in a
 * week, 0.1 % in eight months.
 */
export interface AttemptRule {
  readonly free: number;
  readonly firstMs: number;
  readonly longestMs: number;
  readonly memoryMs: number;
}
export const attemptRules = {
  /** Of one address at all services. */
  address: { free: 10, firstMs: second, longestMs: 15 * minute, memoryMs: hour },
  /** Of one browser that has signed in before. */
  browser: { free: 5, firstMs: second, longestMs: 15 * minute, memoryMs: day },
  /** Of everybody at one service's secret of the kind. */
  pin: { free: 10, firstMs: second, longestMs: 6 * hour, memoryMs: 30 * day },
  password: { free: 20, firstMs: second, longestMs: minute, memoryMs: day },
  header: { free: 20, firstMs: second, longestMs: minute, memoryMs: hour },
  /** Of one user of basic authentication. */
  basic: { free: 10, firstMs: second, longestMs: minute, memoryMs: hour },
  /** Of one address, for secrets that nobody can guess: each one costs a look-up only. */
  device: { free: 50, firstMs: second, longestMs: minute, memoryMs: hour },
  link: { free: 100, firstMs: second, longestMs: 10 * second, memoryMs: hour },
} as const satisfies Readonly<Record<string, AttemptRule>>;
export const attemptsKeptMs = 30 * day;

/** An agent's token for its own services: how long it lives where the agent does not renew it, milliseconds. */
export const agentTokenMs = 60 * 60_000;
