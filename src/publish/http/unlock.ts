// The page of a TCP, TLS or UDP service: a request that has passed its checks opens the service's port for the address that it came from.
import type { Clock } from '#lib/clock.ts';
import { formatIp } from '#lib/ip.ts';
import type { AccessBackend } from '../access/backend.ts';
import type { Verdict } from '../access/check.ts';
import { logoutPath } from '../access/own-paths.ts';
import { proofChecks, runChecks } from '../access/pipeline.ts';
import { StandingTrust } from '../access/standing-trust.ts';
import { respondNote } from '../access/respond.ts';
import type { Pages } from '../pages/document.ts';
import type { OwnReason } from '../pages/reasons.ts';
import type { Subject } from '../access/subject.ts';
import type { Surroundings } from '../access/surroundings.ts';
import { ACCESS_MS, UNLOCK_TOKEN_MS } from '../constants.ts';
import type { Unlocks } from '../stream/unlocks.ts';
import type { Exchange } from './exchange.ts';
import type { PublishedService, RouteTable } from './routes.ts';

export interface UnlockDeps {
  readonly unlocks: Unlocks;
  readonly pages: Pages;
  readonly routes: () => RouteTable;
  readonly backend: AccessBackend;
  readonly around: Surroundings;
  readonly clock: Clock;
}

/** Opens it and answers 200, or returns why not, with nothing answered. `trustKey` names the trust that the request rests on. */
export function unlockPort(
  exchange: Exchange,
  subject: Subject,
  service: PublishedService,
  { identity, session, proven }: Verdict & { readonly kind: 'allow' },
  trustKey: string | undefined,
  { unlocks, routes, pages, backend, around, clock }: UnlockDeps,
): { readonly reason: OwnReason; readonly detail: string } | undefined {
  const { address, host } = subject;
  if (address === undefined || identity === undefined || trustKey === undefined) return { reason: 'ip_denied', detail: 'nobody, or nowhere' };
  const expiresAt = session?.expiresAt ?? clock.wall() + UNLOCK_TOKEN_MS;
  const from = formatIp(address);
  const standing = new StandingTrust(clock.now());
  const isTrusted = (verdict: Verdict | undefined): boolean => standing.stands(verdict, clock.now());
  const confirm = (): boolean | Promise<boolean> => {
    // By its policy of then.
    const now = routes().serviceById(service.id);
    if (now === undefined) return false;
    const verdict = runChecks(proofChecks, { subject: { ...subject, service: now }, backend, around, signal: AbortSignal.timeout(ACCESS_MS) });
    return verdict instanceof Promise ? verdict.then(isTrusted) : isTrusted(verdict);
  };
  if (!unlocks.open({ serviceId: service.id, access: service.access, address: from, trustKey, identity, proofs: proven, expiresAt, confirm })) {
    return { reason: 'upstream_busy', detail: 'too many ports are unlocked' };
  }
  const { mode, listenPort } = service.mapping;
  const until = new Date(expiresAt).toISOString();
  respondNote(exchange, pages, {
    title: { en: 'Open', de: 'Offen' },
    texts: [
      {
        en: `${mode.toUpperCase()} port ${listenPort ?? 0} of ${host} is open for ${from} until ${until} at the latest. Signing out closes it.`,
        de: `${mode.toUpperCase()}-Port ${listenPort ?? 0} von ${host} ist für ${from} offen, längstens bis ${until}. Abmelden schließt ihn.`,
      },
    ],
    links: [{ href: logoutPath, text: { en: 'Sign out', de: 'Abmelden' } }],
    facts: { host, port: listenPort, protocol: mode, address: from, until },
  });
  return undefined;
}
