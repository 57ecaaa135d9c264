// Sign-in at a published host itself: what a visitor is asked for, and what happens to what is typed there.
import { typedProofs, type ProofAlternatives } from '#model/access.ts';
import type { Session, Visitor } from '#model/identity.ts';
import type { Exchange } from '../http/exchange.ts';
import type { SignIn, SignInPlace } from './backend.ts';
import { claimedSessionId, clearCookie, sessionCookie } from './cookies.ts';
import { readForm, sealForm } from './form.ts';
import type { Pages } from '../pages/document.ts';
import type { Text } from '../pages/language.ts';
import { reasonStatus, type OwnReason } from '../pages/reasons.ts';
import { localTarget } from './place.ts';
import { atPage, type PageProof, provenBy, stepsLeft } from './proofs.ts';
import { respondForm, respondOwn, respondRedirect, seeOtherStatus, type OwnAnswer } from './respond.ts';
import { signInPage } from './sign-in-page.ts';
import type { Subject } from './subject.ts';

/** What is left to do at a page for somebody who is asked for one of these alternatives. */
export function stepsFor(asked: ProofAlternatives, session: Session | undefined): readonly PageProof[] {
  return stepsLeft(asked, session === undefined ? [] : provenBy(session));
}

/** Shows a visitor what is left to do. The page stands in place of what was asked for, so no address has to carry it. */
export function showSteps(exchange: Exchange, pages: Pages, subject: Subject, steps: readonly PageProof[], session: Session | undefined): void {
  const target = subject.path + subject.query;
  // A cookie that is worth nothing any more goes (attack row C-4).
  const dead = session === undefined && claimedSessionId(subject.cookies) !== undefined;
  const view = { steps, begun: session !== undefined, target, problem: undefined };
  page(exchange, pages, subject, { ...view, status: reasonStatus('not_signed_in') }, dead ? [clearCookie(sessionCookie)] : []);
}

interface View {
  readonly status: number;
  readonly steps: readonly PageProof[];
  readonly begun: boolean;
  readonly target: string;
  readonly problem: Text | undefined;
}

function page(exchange: Exchange, pages: Pages, { host, cookies }: Subject, view: View, setCookies: readonly string[], retryAfterMs = 0): void {
  const seal = sealForm(cookies);
  respondForm(exchange, pages, signInPage({ ...view, host, seal: seal.value }), { setCookies: [...setCookies, ...seal.setCookies], retryAfterMs });
}

export interface StepDeps {
  readonly signIn: SignIn;
  readonly pages: Pages;
}

/** Answers a form of the page. */
export async function takeStep(
  exchange: Exchange,
  { signIn, pages }: StepDeps,
  place: SignInPlace,
  subject: Subject,
  visitor: Visitor,
  signal: AbortSignal,
  id: string,
): Promise<OwnAnswer> {
  const own = (reason: OwnReason): OwnAnswer => ({ status: reasonStatus(reason), reason, send: () => respondOwn(exchange, pages, { reason, id }) });
  const form = await readForm(exchange, place, subject.cookies, signal);
  if (form === 'foreign') return own('form_foreign');
  if (form === 'malformed') return own('bad_request');
  if (form === 'body_too_large') return own(form);
  const kind = typedProofs.find((known) => known === form.get('kind'));
  if (kind === undefined) return own('bad_request');
  const result = await signIn.prove(place, { kind, secret: form.get('secret') ?? '', ...visitor }, subject.cookies, signal);
  const target = form.get('to') ?? '/';
  if (result.kind === 'proven') {
    const location = localTarget(place, target);
    return { status: seeOtherStatus, reason: `${kind}_right`, send: () => respondRedirect(exchange, location, result.setCookies, seeOtherStatus) };
  }
  const { why, retryAfterMs } = result;
  if (why === 'not_asked') return own('not_found');
  const steps = atPage.filter((step) => (form.get('steps') ?? '').split(' ').includes(step));
  const waits = why === 'wait';
  const view = { status: waits ? 429 : 401, steps, begun: false, target, problem: waits ? waitText(retryAfterMs) : wrong };
  const send = (): void => page(exchange, pages, subject, view, [], waits ? retryAfterMs : 0);
  return { status: view.status, reason: waits ? 'proof_wait' : 'proof_wrong', send };
}

const wrong: Text = { en: 'That was wrong. Try again.', de: 'Das war falsch. Versuchen Sie es noch einmal.' };

/** A time to wait, in the largest unit that says it well, rounded up. */
function waitText(ms: number): Text {
  const seconds = Math.ceil(ms / 1_000);
  const [count, en, de] =
    seconds < 90
      ? [seconds, 'second', 'Sekunde']
      : seconds < 5_400
        ? [Math.ceil(seconds / 60), 'minute', 'Minute']
        : [Math.ceil(seconds / 3_600), 'hour', 'Stunde'];
  return {
    en: `That was wrong too often. Try again in ${count} ${en}${count === 1 ? '' : 's'}.`,
    de: `Das war zu oft falsch. Versuchen Sie es in ${count} ${de}${count === 1 ? '' : 'n'} noch einmal.`,
  };
}
