// Answers of our own: pages for people, problem documents (RFC 9457) for programs, one fixed ladder from reason to status.
import { createHash } from 'node:crypto';
import type { DenyReason } from '#model/decision.ts';
import { emptyFields, joinedValue, type Fields } from '#wire/http1-fields.ts';
import type { Exchange } from '../http/exchange.ts';

const style = `body{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;padding:0 1rem;color:#222;background:#fff}small{color:#666}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#111}small{color:#999}}`;
const contentPolicy = `default-src 'none'; style-src 'sha256-${createHash('sha256').update(style).digest('base64')}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'`;

/** Why a request ends here, beyond the checks: malformed, or the upstream failed. */
export type OwnReason =
  | DenyReason
  | 'bad_request'
  | 'login_invalid'
  | 'login_denied'
  | 'not_found'
  | 'signed_out'
  | 'upstream_refused'
  | 'upstream_unreachable'
  | 'upstream_timeout'
  | 'upstream_bad_answer'
  | 'upstream_closed'
  | 'upstream_tls'
  | 'upstream_untrusted'
  | 'upstream_wrong_name'
  | 'upstream_expired'
  | 'upstream_protocol'
  | 'upstream_busy'
  | 'service_busy'
  | 'body_too_large'
  | 'loop'
  | 'draining';

interface Page {
  readonly status: number;
  readonly title: string;
  readonly text: string;
}

const notFound: Page = { status: 404, title: 'Not found', text: 'There is nothing at this address.' };
const noAccess: Page = { status: 403, title: 'No access', text: 'You cannot open this page. Ask the person who runs it.' };
const signInNeeded: Page = { status: 401, title: 'Sign-in needed', text: 'Sign in to open this page.' };
const busy: Page = { status: 503, title: 'Busy', text: 'There are too many requests right now. Try again in a moment.' };
const unreachable: Page = { status: 502, title: 'Service unreachable', text: 'The service could not be reached.' };

/** What a stranger may read: neutral, without names of services, peers or addresses. The id joins it to the log. */
const pages: Readonly<Record<OwnReason, Page>> = {
  signed_out: { status: 200, title: 'Signed out', text: 'You are signed out of this page.' },
  bad_request: { status: 400, title: 'Bad request', text: 'The request could not be understood.' },
  login_invalid: {
    status: 400,
    title: 'Sign-in did not finish',
    text: 'The sign-in took too long or was begun elsewhere. Open the page again to start over.',
  },
  not_signed_in: signInNeeded,
  session_expired: signInNeeded,
  session_revoked: signInNeeded,
  token_invalid: { ...signInNeeded, text: 'The token that was sent does not open this page: it is wrong, has expired, or was revoked.' },
  ip_denied: noAccess,
  country_unknown: noAccess,
  restriction_unsupported: noAccess,
  group_not_allowed: noAccess,
  private_service: noAccess,
  auth_method_unsupported: noAccess,
  login_denied: noAccess,
  unknown_host: notFound,
  no_route: notFound,
  not_found: notFound,
  method_not_allowed: { status: 405, title: 'Method not allowed', text: 'This kind of request is not accepted here.' },
  host_mismatch: { status: 421, title: 'Misdirected request', text: 'This connection was opened for another host. Try again.' },
  internal_error: { status: 500, title: 'Internal error', text: 'Something went wrong here. Try again later.' },
  upstream_refused: unreachable,
  upstream_unreachable: unreachable,
  upstream_bad_answer: unreachable,
  upstream_closed: unreachable,
  upstream_tls: unreachable,
  upstream_untrusted: unreachable,
  upstream_wrong_name: unreachable,
  upstream_expired: unreachable,
  upstream_protocol: unreachable,
  auth_unavailable: {
    status: 503,
    title: 'Sign-in is not available',
    text: 'It cannot be checked right now who you are. Try again in a moment.',
  },
  upstream_busy: busy,
  service_busy: busy,
  body_too_large: { status: 413, title: 'Too large', text: 'What was sent is larger than this service takes.' },
  draining: busy,
  upstream_timeout: { status: 504, title: 'No answer', text: 'The service did not answer in time.' },
  loop: { status: 508, title: 'Loop detected', text: 'The request came back to where it had been.' },
};

/** The status that a reason ends in. */
export function reasonStatus(reason: OwnReason): number {
  return pages[reason].status;
}

/** Whether the caller is a browser that shows pages: it names text/html, with a weight above zero. */
export function acceptsHtml(fields: Fields): boolean {
  const accept = joinedValue(fields, 'accept');
  if (accept === undefined) return false;
  return accept.split(',').some((range) => {
    const [type, ...parameters] = range.split(';').map((part) => part.trim().toLowerCase());
    return type === 'text/html' && !parameters.some((parameter) => /^q=0(?:\.0*)?$/.test(parameter));
  });
}

const usualMethods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

/** Answers with a page or a problem document, and ends the exchange. `allow` is for what is refused by its method. */
export function respondOwn(
  exchange: Exchange,
  reason: OwnReason,
  id: string,
  setCookies: readonly string[] = [],
  allow: readonly string[] = usualMethods,
): void {
  const { status, title, text } = pages[reason];
  const html = acceptsHtml(exchange.request.fields);
  const body = Buffer.from(
    html ? document(status, title, text, id) : JSON.stringify({ type: 'about:blank', title, status, detail: text, reason: publicReason(reason), id }),
  );
  const fields = ownFields(setCookies);
  set(fields, 'Content-Type', html ? 'text/html; charset=utf-8' : 'application/problem+json');
  if (status === 401) set(fields, 'WWW-Authenticate', 'Bearer realm="meshgate"');
  if (status === 405) set(fields, 'Allow', allow.join(', '));
  if (status === 503) set(fields, 'Retry-After', '5');
  send(exchange, status, title, fields, body);
}

export const redirectStatus = 302;

/** Sends a browser elsewhere, and ends the exchange. The location must be a checked URL. */
export function respondRedirect(exchange: Exchange, location: string, setCookies: readonly string[]): void {
  const fields = ownFields(setCookies);
  set(fields, 'Location', location);
  send(exchange, redirectStatus, 'Found', fields, Buffer.alloc(0));
}

/** A page of ours that tells something: for people in words, for programs as `facts`. */
export interface Note {
  readonly title: string;
  readonly text: string;
  readonly facts: Readonly<Record<string, unknown>>;
}

/** Answers 200 and ends the exchange. */
export function respondNote(exchange: Exchange, { title, text, facts }: Note): void {
  const html = acceptsHtml(exchange.request.fields);
  const fields = ownFields([]);
  set(fields, 'Content-Type', html ? 'text/html; charset=utf-8' : 'application/json');
  send(exchange, 200, 'OK', fields, Buffer.from(html ? document(200, title, text, '') : JSON.stringify(facts)));
}

export function respondJson(exchange: Exchange, text: string): void {
  const fields = emptyFields();
  set(fields, 'Content-Type', 'application/json');
  set(fields, 'Cache-Control', 'public, max-age=300');
  set(fields, 'X-Content-Type-Options', 'nosniff');
  send(exchange, 200, 'OK', fields, Buffer.from(text));
}

function send(exchange: Exchange, status: number, reason: string, fields: Fields, body: Buffer): void {
  exchange.answer({ status, reason, fields, length: body.length, statedLength: body.length });
  exchange.write(body);
  exchange.end(undefined);
}

/** Nothing of ours is kept by caches, framed, or allowed to load anything (attack rows C-10, C-11, L-5). */
function ownFields(setCookies: readonly string[]): Fields {
  const fields = emptyFields();
  set(fields, 'Cache-Control', 'no-store');
  set(fields, 'Vary', 'Cookie, Accept');
  set(fields, 'X-Content-Type-Options', 'nosniff');
  set(fields, 'Referrer-Policy', 'no-referrer');
  set(fields, 'Content-Security-Policy', contentPolicy);
  for (const cookie of setCookies) set(fields, 'Set-Cookie', cookie);
  return fields;
}

function set(fields: Fields, name: string, value: string): void {
  fields.names.push(name);
  fields.keys.push(name.toLowerCase());
  fields.values.push(value);
}

/** The part of a reason that strangers may know: what failed behind us is one thing to them. */
function publicReason(reason: OwnReason): string {
  return reason.startsWith('upstream_') && reason !== 'upstream_timeout' ? 'upstream_failed' : reason;
}

function document(status: number, title: string, text: string, id: string): string {
  // What to tell an administrator, where something went wrong.
  const failed = status >= 400;
  const reference = failed ? `<p><small>${status} &middot; ${escapeHtml(id)}</small></p>` : '';
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">
<title>${failed ? `${status} ` : ''}${escapeHtml(title)}</title>
<style>${style}</style></head>
<body><main><h1>${escapeHtml(title)}</h1><p>${escapeHtml(text)}</p>${reference}</main></body>
</html>
`;
}

function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}
