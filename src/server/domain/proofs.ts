// Proofs beyond sign-in at the identity provider: secrets of a service, traded for sessions. Hashes are checked in the thread pool, a few at a time.
import { isToken, linkTokenPrefix, tokenDigest } from '#crypto/tokens.ts';
import { callerNetwork } from '#lib/ip.ts';
import { utf8 } from '#lib/bytes.ts';
import { asId, type ServiceId, type UserId } from '#model/ids.ts';
import type { ProofAttempt, ProofGrant } from '#model/identity.ts';
import type { ServiceRecord } from '../store/service-table.ts';
import { attemptRules, knownBrowserMs, passwordDeadlineMs } from './constants.ts';
import { write, type Context } from './context.ts';
import type { ProofUseCases } from './proof-contract.ts';
import { Credentials } from './credentials.ts';
import { verifyDevice } from './devices.ts';
import { newId } from './ids.ts';
import { verifyMinted } from './minted.ts';
import { holderOfLink } from './links.ts';
import { type AttemptKey, beginAttempt, digestOf, withdrawAttempt } from './proof-attempts.ts';
import { enabledService, openSession, waysIn } from './sessions.ts';

type Hashed = ProofAttempt & { readonly kind: 'password' | 'pin' };

const names = { password: 'Shared password', pin: 'Shared PIN' } as const;

export function proofUseCases(context: Context): ProofUseCases {
  const credentials = new Credentials(context);
  return {
    async prove(attempt, cluster) {
      const { kind } = attempt;
      return kind === 'link' ? await openLink(context, attempt, cluster) : await proveSecret(context, { ...attempt, kind }, cluster);
    },

    async verify(attempt, cluster) {
      if (attempt.kind === 'device') return await verifyDevice(context, attempt, cluster);
      if (attempt.kind === 'certificate') return await verifyMinted(context, attempt, cluster);
      return await credentials.verify({ ...attempt, kind: attempt.kind }, cluster);
    },
  };
}

/** A password or PIN: its hash is checked outside of any transaction, as that takes long. */
async function proveSecret(context: Context, attempt: Hashed, cluster: string): Promise<ProofGrant> {
  const { store, hasher, random } = context;
  const service = await store.read(async (tables) => await enabledService(tables, attempt.serviceId, cluster));
  const hash = service === undefined ? undefined : hashOf(service, attempt.kind);
  if (service === undefined || hash === undefined) return refused('not_asked');
  const keys = attemptKeys(context, attempt, hash);
  const waitMs = await store.write(async (tables) => await beginAttempt(tables, context.clock.wall(), keys));
  if (waitMs > 0) return refused('wait', waitMs);
  const verifying = hasher.verify(attempt.secret, hash, AbortSignal.timeout(passwordDeadlineMs));
  const right = await verifying.catch(async (error: unknown) => {
    await store.write(async (tables) => await withdrawAttempt(tables, keys, false)); // too busy to look
    throw error;
  });
  if (!right) return refused('wrong');
  return await write(context, async (write) => {
    await withdrawAttempt(write.tables, keys, true);
    const now = await enabledService(write.tables, attempt.serviceId, cluster);
    // The secret may have been changed while it was looked at.
    if (now === undefined || hashOf(now, attempt.kind) !== hash) return refused('wrong');
    const holder = { userId: asId<UserId>(`${attempt.kind}:${newId(random)}`), name: names[attempt.kind] };
    const origin = { signIn: '', methods: [], address: attempt.address, userAgent: attempt.userAgent };
    const session = await openSession(context, write, now, holder, attempt.kind, origin, attempt.sessionId);
    await write.tables.sessions.trimNameless(now.id, context.limits.namelessPerService);
    return { kind: 'granted', session, knownBrowser: markBrowser(context, attempt, [secretMark(attempt.kind, hash)]) };
  });
}

function refused(why: 'wrong' | 'wait' | 'not_asked', retryAfterMs = 0): ProofGrant {
  return { kind: 'refused', why, retryAfterMs };
}

/** A link's secret cannot be guessed, so it is looked up at once, and used in the same step that opens the session. */
async function openLink(context: Context, attempt: ProofAttempt, cluster: string): Promise<ProofGrant> {
  return await write(context, async (write) => {
    const { tables, now } = write;
    const service = await enabledService(tables, attempt.serviceId, cluster);
    if (service === undefined || !waysIn(service).some((all) => all.includes('link'))) return refused('not_asked');
    const keys = [{ key: `link ${callerNetwork(attempt.address)}`, rule: attemptRules.link }];
    const waitMs = await beginAttempt(tables, now, keys);
    if (waitMs > 0) return refused('wait', waitMs);
    const link = isToken(attempt.secret, linkTokenPrefix) ? await tables.links.use(tokenDigest(attempt.secret), service.id, now) : undefined;
    if (link === undefined) return refused('wrong');
    await withdrawAttempt(tables, keys, true);
    const origin = { signIn: '', methods: [], address: attempt.address, userAgent: attempt.userAgent };
    const session = await openSession(context, write, service, holderOfLink(link), 'link', origin, attempt.sessionId);
    await tables.sessions.trimNameless(service.id, context.limits.namelessPerService);
    return { kind: 'granted', session, knownBrowser: markBrowser(context, attempt, []) };
  });
}

/** The stored hash of what the service asks for; undefined where it does not ask for it. */
function hashOf(service: ServiceRecord, kind: Hashed['kind']): string | undefined {
  if (!waysIn(service).some((all) => all.includes(kind))) return undefined;
  const { password, pin } = service.auth;
  const kept = kind === 'password' ? password : pin;
  return kept?.enabled === true ? kept.hash : undefined;
}

/**
 * Who has been right about this secret before with this browser does not have to wait for strangers, only for itself. Being right about another
 * secret counts for nothing here: who knows the password could buy guesses of the PIN with it, without end.
 */
function attemptKeys(context: Context, attempt: Hashed, hash: string): readonly AttemptKey[] {
  const { serviceId, kind, address } = attempt;
  const browser = openMark(context, attempt);
  if (browser?.secrets.includes(secretMark(kind, hash)) === true) return [{ key: `browser ${browser.name}`, rule: attemptRules.browser }];
  return [
    { key: `address ${callerNetwork(address)}`, rule: attemptRules.address },
    // A new secret begins anew.
    { key: `service ${serviceId} ${kind} ${digestOf(hash)}`, rule: attemptRules[kind] },
  ];
}

const markPlace = (serviceId: ServiceId): string => `known browser ${serviceId}`;

function secretMark(kind: Hashed['kind'], hash: string): string {
  return `${kind}:${digestOf(hash)}`;
}

interface KnownBrowser {
  readonly name: string;
  /** What it has been right about: each with the hash of then, as who knew a secret of before knows nothing of the next. */
  readonly secrets: readonly string[];
}

/** What a browser shows the next time: it proves nothing, but counts its guesses apart. It keeps what the mark of before says of other secrets. */
function markBrowser(context: Context, attempt: ProofAttempt, secrets: readonly string[]): string {
  const { sealer, clock, random } = context;
  const before = openMark(context, attempt)?.secrets.filter((kept) => !secrets.some((one) => kindOf(one) === kindOf(kept))) ?? [];
  const text = [clock.wall() + knownBrowserMs, newId(random), ...before, ...secrets].join(' ');
  return sealer.seal(markPlace(attempt.serviceId), utf8(text));
}

function kindOf(secret: string): string {
  return secret.slice(0, secret.indexOf(':'));
}

/** Undefined where the mark is not ours, another service's, or too old. */
function openMark({ sealer, clock }: Context, { serviceId, knownBrowser }: ProofAttempt): KnownBrowser | undefined {
  if (knownBrowser === undefined) return undefined;
  try {
    const [until = '', name = '', ...secrets] = Buffer.from(sealer.open(markPlace(serviceId), knownBrowser))
      .toString('utf8')
      .split(' ');
    return Number(until) > clock.wall() ? { name, secrets } : undefined;
  } catch {
    return undefined;
  }
}
