// The few paths that a published host answers itself: sign-in's end, sign-out, and the keys of identity assertions. Exact matches, nothing else.
import { formatIp } from '#lib/ip.ts';
import type { Logger } from '#lib/log.ts';
import { describeError } from '#lib/errors.ts';
import { asksFor, plainAccess } from '#model/access.ts';
import type { Visitor } from '#model/identity.ts';
import { fieldValue } from '#wire/http1-fields.ts';
import type { Exchange } from '../http/exchange.ts';
import type { IdentityHeaders, SignIn, SignInPlace } from './backend.ts';
import type { Pages } from '../pages/document.ts';
import { reasonStatus, type OwnReason } from '../pages/reasons.ts';
import { redirectStatus, respondJson, respondOwn, respondRedirect, type OwnAnswer } from './respond.ts';
import type { CheckInput } from './check.ts';
import { claimedSessionId } from './cookies.ts';
import { answerDevices, type DevicesDeps } from './devices-page.ts';
import { callbackPath, devicesPath, linkPath, localTarget, loginPath, signInPath } from './place.ts';
import { cookieHeader, showLinkPage, takeStep } from './proof-steps.ts';
import type { Subject } from './subject.ts';

/** Characters of a user agent that are told to the control plane. */
const userAgentLength = 256;
export const logoutPath = '/.meshgate/logout';
const jwksPath = '/.meshgate/jwks.json';

const reading: readonly string[] = ['GET', 'HEAD'];
const methodsOf: Readonly<Record<string, readonly string[]>> = { [signInPath]: ['POST'], [devicesPath]: [...reading, 'POST'] };

export interface OwnPathDeps extends DevicesDeps {
  readonly signIn: SignIn;
  readonly identityHeaders: IdentityHeaders;
  readonly pages: Pages;
  readonly log: Logger;
}

/** The answer to a path below `ownPrefix` of place.ts. */
export async function answerOwnPath(exchange: Exchange, deps: OwnPathDeps, place: SignInPlace, input: CheckInput, id: string): Promise<OwnAnswer> {
  const { subject, signal } = input;
  const own = (reason: OwnReason, setCookies: readonly string[] = []): OwnAnswer => ({
    status: reasonStatus(reason),
    reason,
    send: () => respondOwn(exchange, deps.pages, { reason, id, setCookies }),
  });
  if (!(methodsOf[subject.path] ?? reading).includes(subject.method)) return own('method_not_allowed');
  try {
    switch (subject.path) {
      case signInPath:
        return await takeStep(exchange, deps, place, subject, visitorOf(exchange, subject), signal, id);
      case loginPath: {
        const target = new URLSearchParams(subject.query).get('to') ?? '/';
        const { location, setCookies } = await deps.signIn.start(place, target, cookieHeader(exchange), signal);
        return { status: redirectStatus, reason: 'not_signed_in', send: () => respondRedirect(exchange, location, setCookies) };
      }
      case linkPath:
        if (!asksFor(input.subject.service?.mapping.access ?? plainAccess, 'link')) return own('not_found');
        return { status: 200, reason: 'link', send: () => showLinkPage(exchange, deps.pages, subject) };
      case devicesPath:
        return await answerDevices(exchange, deps, place, input, id);
      case jwksPath: {
        const text = deps.identityHeaders.jwks(place);
        return { status: 200, reason: 'jwks', send: () => respondJson(exchange, text) };
      }
      case logoutPath:
        // A page and no redirect: back at the application, the identity provider would sign the visitor in again unasked.
        return await signOut(exchange, deps, place, subject, signal, id);
      case callbackPath: {
        const result = await deps.signIn.finish(place, subject.query, cookieHeader(exchange), visitorOf(exchange, subject), signal);
        if (result.kind === 'refused') return own(result.reason, result.setCookies);
        const location = localTarget(place, result.returnTo);
        return { status: redirectStatus, reason: 'signed_in', send: () => respondRedirect(exchange, location, result.setCookies) };
      }
      default:
        return own('not_found');
    }
  } catch (error) {
    deps.log.warn('sign-in is not available', { id, error: describeError(error) });
    return own('auth_unavailable');
  }
}

const everywhere = {
  en: 'Sign out of every service, here or on every device',
  de: 'Von allen Diensten abmelden, hier oder auf allen Geräten',
};

/** Signed out here; where people sign in at the identity provider, with a link to where they sign out there. */
async function signOut(
  exchange: Exchange,
  { signIn, pages, log }: OwnPathDeps,
  place: SignInPlace,
  subject: Subject,
  signal: AbortSignal,
  id: string,
): Promise<OwnAnswer> {
  const setCookies = await signIn.logout(place, claimedSessionId(subject.cookies), signal);
  const signsIn = subject.service !== undefined && asksFor(subject.service.mapping.access, 'oidc');
  const href = signsIn
    ? await signIn.everywhere?.(place, signal).catch((error: unknown) => {
        log.debug('the page to sign out everywhere is not known', { error: describeError(error) });
        return undefined;
      })
    : undefined;
  const links = href === undefined ? [] : [{ href, text: everywhere }];
  return { status: 200, reason: 'signed_out', send: () => respondOwn(exchange, pages, { reason: 'signed_out', id, setCookies, links }) };
}

/** Whatever a client calls itself, cut to what a list can show. */
function visitorOf(exchange: Exchange, { address }: Subject): Visitor {
  const userAgent = fieldValue(exchange.request.fields, 'user-agent') ?? '';
  return { address: address === undefined ? '' : formatIp(address), userAgent: userAgent.slice(0, userAgentLength) };
}
