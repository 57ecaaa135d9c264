// Sign-in at a published host itself: what a visitor is asked for, and what happens to what is typed there.
import { describeError } from '#lib/errors.ts';
import { typedProofs, type TypedProof } from '#model/access.ts';
import type { Session, Visitor } from '#model/identity.ts';
import type { Exchange } from '../http/exchange.ts';
import type { SignIn, SignInPlace } from './backend.ts';
import type { Verdict } from './check.ts';
import { claimedSessionId, clearCookie, sessionCookie } from './cookies.ts';
import { readForm, sealForm } from './form.ts';
import type { Pages } from '../pages/document.ts';
import type { Text } from '../pages/language.ts';
import { reasonStatus, type OwnReason } from '../pages/reasons.ts';
import { localTarget } from './place.ts';
import { atPage, type PageProof, stepsLeft } from './proofs.ts';
import { acceptsHtml, redirectStatus, respondForm, respondOwn, respondRedirect, seeOtherStatus, type OwnAnswer } from './respond.ts';
import { signInPage } from './sign-in-page.ts';
import type { Subject } from './subject.ts';

export interface StepDeps {
  readonly signIn: SignIn;
  readonly pages: Pages;
}

/** An answer to who has to prove more. `failure` says for the log why nobody can now. */
export type ProofRequest = OwnAnswer & { readonly failure?: string | undefined };

/**
 * Asks a browser for what is left to prove: at a page of ours, or at the identity provider where that is all. Undefined for whom it cannot be
 * asked: everything but a browser's own navigation could not follow, or would lose its body, and some ways in are none of a page.
 */
export function askToProve(
  exchange: Exchange,
  deps: StepDeps,
  place: SignInPlace,
  subject: Subject,
  verdict: Verdict & { readonly kind: 'challenge' },
  signal: AbortSignal,
  id: string,
): Promise<ProofRequest> | undefined {
  const { request } = exchange;
  const { reason, session, asked = [], proven = [] } = verdict;
  const steps = stepsLeft(asked, proven);
  if (request.method !== 'GET' || request.upgrade !== undefined || !acceptsHtml(request.fields) || steps.length === 0) return undefined;
  if (steps.length === 1 && steps[0] === 'oidc') return loginRedirect(exchange, deps, place, subject, { reason, session }, signal, id);
  return Promise.resolve({ status: reasonStatus(reason), reason, send: () => showSteps(exchange, deps.pages, subject, steps, session) });
}

/** Sends a browser to the identity provider, or tells that nobody can sign in now. */
async function loginRedirect(
  exchange: Exchange,
  { signIn, pages }: StepDeps,
  place: SignInPlace,
  subject: Subject,
  { reason, session }: Pick<Verdict & { readonly kind: 'challenge' }, 'reason' | 'session'>,
  signal: AbortSignal,
  id: string,
): Promise<ProofRequest> {
  try {
    const { location, setCookies } = await signIn.start(place, subject.path + subject.query, cookieHeader(exchange), signal);
    return { status: redirectStatus, reason, send: () => respondRedirect(exchange, location, [...deadCookie(subject, session), ...setCookies]) };
  } catch (error) {
    const send = (): void => respondOwn(exchange, pages, { reason: 'auth_unavailable', id });
    return { status: reasonStatus('auth_unavailable'), reason: 'auth_unavailable', failure: describeError(error), send };
  }
}

export function cookieHeader({ request }: Exchange): string | undefined {
  const { keys, values } = request.fields;
  const all = values.filter((_value, i) => keys[i] === 'cookie');
  return all.length === 0 ? undefined : all.join('; ');
}

/** Shows a visitor what is left to do. The page stands in place of what was asked for, so no address has to carry it. */
function showSteps(exchange: Exchange, pages: Pages, subject: Subject, steps: readonly PageProof[], session: Session | undefined): void {
  const target = subject.path + subject.query;
  const view = { steps, begun: session !== undefined, target, problem: undefined };
  page(exchange, pages, subject, { ...view, status: reasonStatus('not_signed_in') }, deadCookie(subject, session));
}

/** A cookie that is worth nothing any more goes (attack row C-4). */
function deadCookie({ cookies }: Subject, session: Session | undefined): readonly string[] {
  return session === undefined && claimedSessionId(cookies) !== undefined ? [clearCookie(sessionCookie)] : [];
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
  const result = await signIn.prove(place, { kind, secret: secretOf(kind, form.get('secret') ?? ''), ...visitor }, subject.cookies, signal);
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

/** Of a link, people may paste all of it. */
function secretOf(kind: TypedProof, text: string): string {
  return kind === 'link' ? text.slice(text.lastIndexOf('#') + 1).trim() : text;
}

/** The page of a share link. It is used up by who sends its form, not by who looks at it, as chat programs do. */
export function showLinkPage(exchange: Exchange, pages: Pages, subject: Subject): void {
  const target = new URLSearchParams(subject.query).get('to') ?? '/';
  page(exchange, pages, subject, { status: 200, steps: ['link'], begun: false, target, problem: undefined }, []);
}

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
