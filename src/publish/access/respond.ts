// Answers of our own: pages for people, problem documents (RFC 9457) for programs, one fixed ladder from reason to status.
import type { ProofAlternatives } from '#model/access.ts';
import { emptyFields, joinedValue, type Fields } from '#wire/http1-fields.ts';
import type { Exchange } from '../http/exchange.ts';
import type { PageContent, Pages } from '../pages/document.ts';
import { fixOf } from '../pages/fixes.ts';
import { pageLanguage } from '../pages/language.ts';
import { publicReason, publicWord, type OwnReason } from '../pages/reasons.ts';
import type { Diagnosis } from '../pages/stages.ts';

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

export interface Refusal {
  readonly reason: OwnReason;
  /** Joins the answer to the log. */
  readonly id: string;
  readonly setCookies?: readonly string[];
  readonly links?: PageContent['links'];
  /** For what is refused by its method. */
  readonly allow?: readonly string[] | undefined;
  /** For what is over then. */
  readonly retryAfterMs?: number | undefined;
  /** For who is not let in yet: the ways in. */
  readonly asked?: ProofAlternatives | undefined;
  /** Where basic authentication is a way in. */
  readonly basicRealm?: string | undefined;
  /** For administrators only: the caller is one, and has proven it. */
  readonly diagnosis?: Diagnosis | undefined;
}

/** What will be answered. It is told before it is sent, as a short answer is over, and in the access log, within the sending. */
export interface OwnAnswer {
  readonly status: number;
  readonly reason: string;
  readonly send: () => void;
}

/** Answers with a page or a problem document, and ends the exchange. */
export function respondOwn(
  exchange: Exchange,
  pages: Pages,
  { reason, id, setCookies = [], links = [], allow = usualMethods, retryAfterMs = 5_000, asked, basicRealm, diagnosis }: Refusal,
): void {
  const { status, title, text } = publicReason(reason);
  const fields = ownFields(setCookies);
  const { request } = exchange;
  if (status === 401) set(fields, 'WWW-Authenticate', 'Bearer realm="meshgate"');
  if (status === 401 && basicRealm !== undefined) set(fields, 'WWW-Authenticate', `Basic realm="${basicRealm}", charset="UTF-8"`);
  if (status === 405) set(fields, 'Allow', allow.join(', '));
  if (status === 503 || status === 429) set(fields, 'Retry-After', String(Math.ceil(retryAfterMs / 1_000)));
  if (acceptsHtml(request.fields)) return sendPage(exchange, pages, fields, { status, title, texts: [text], links, reference: id, diagnosis });
  const problem = { type: 'about:blank', title: title.en, status, detail: text.en, reason: publicWord(reason), id, proofs: asked };
  sendText(exchange, status, title.en, fields, 'application/problem+json', JSON.stringify({ ...problem, ...diagnosisFacts(diagnosis) }));
}

/** A diagnosis as programs read it. */
function diagnosisFacts(diagnosis: Diagnosis | undefined): Readonly<Record<string, unknown>> {
  if (diagnosis === undefined) return {};
  const { stages, failed, upstream } = diagnosis;
  return { stages, upstream, ...(failed === undefined ? {} : { failed: { ...failed, fix: fixOf(failed.reason)?.en } }) };
}

export const redirectStatus = 302;
/** After a form: what follows is a GET. */
export const seeOtherStatus = 303;

/** Sends a browser elsewhere, and ends the exchange. The location must be a checked URL. */
export function respondRedirect(exchange: Exchange, location: string, setCookies: readonly string[], status = redirectStatus): void {
  const fields = ownFields(setCookies);
  set(fields, 'Location', location);
  send(exchange, status, status === seeOtherStatus ? 'See Other' : 'Found', fields, Buffer.alloc(0));
}

export interface FormAnswer {
  readonly setCookies: readonly string[];
  /** After which it may be sent again; 0 for at once. */
  readonly retryAfterMs?: number;
}

/** Answers with a page whose forms come back to this host: browsers tell it where they come from then. */
export function respondForm(exchange: Exchange, pages: Pages, content: PageContent, { setCookies, retryAfterMs = 0 }: FormAnswer): void {
  const fields = ownFields(setCookies, 'same-origin');
  if (retryAfterMs > 0) set(fields, 'Retry-After', String(Math.ceil(retryAfterMs / 1_000)));
  sendPage(exchange, pages, fields, content);
}

/** A page of ours that is no refusal: for people as it is, for programs as `facts`. */
export interface Note extends Omit<PageContent, 'status' | 'reference'> {
  readonly facts: Readonly<Record<string, unknown>>;
  readonly setCookies?: readonly string[];
}

/** Answers 200 and ends the exchange. */
export function respondNote(exchange: Exchange, pages: Pages, { facts, setCookies = [], ...content }: Note): void {
  const fields = ownFields(setCookies);
  if (acceptsHtml(exchange.request.fields)) return sendPage(exchange, pages, fields, { ...content, status: 200, reference: '' });
  sendText(exchange, 200, 'OK', fields, 'application/json', JSON.stringify(facts));
}

/** Answers 200 to a program that may know; kept by nobody. */
export function respondPrivate(exchange: Exchange, facts: Readonly<Record<string, unknown>>): void {
  sendText(exchange, 200, 'OK', ownFields([]), 'application/json', JSON.stringify(facts));
}

export function respondJson(exchange: Exchange, text: string): void {
  const fields = emptyFields();
  set(fields, 'Cache-Control', 'public, max-age=300');
  set(fields, 'X-Content-Type-Options', 'nosniff');
  sendText(exchange, 200, 'OK', fields, 'application/json', text);
}

function sendPage(exchange: Exchange, pages: Pages, fields: Fields, content: PageContent): void {
  const language = pageLanguage(exchange.request.fields);
  const { body, contentPolicy } = pages.render(content, language);
  set(fields, 'Content-Type', 'text/html; charset=utf-8');
  set(fields, 'Content-Language', language);
  set(fields, 'Content-Security-Policy', contentPolicy);
  set(fields, 'Cross-Origin-Opener-Policy', 'same-origin');
  send(exchange, content.status, content.title.en, fields, body);
}

function sendText(exchange: Exchange, status: number, reason: string, fields: Fields, type: string, text: string): void {
  set(fields, 'Content-Type', type);
  send(exchange, status, reason, fields, Buffer.from(text));
}

function send(exchange: Exchange, status: number, reason: string, fields: Fields, body: Buffer): void {
  exchange.answer({ status, reason, fields, length: body.length, statedLength: body.length });
  exchange.write(body);
  exchange.end(undefined);
}

/** Nothing of ours is kept by caches (attack row C-11). */
function ownFields(setCookies: readonly string[], referrer = 'no-referrer'): Fields {
  const fields = emptyFields();
  set(fields, 'Cache-Control', 'no-store');
  set(fields, 'Vary', 'Cookie, Accept, Accept-Language');
  set(fields, 'X-Content-Type-Options', 'nosniff');
  set(fields, 'Referrer-Policy', referrer);
  for (const cookie of setCookies) set(fields, 'Set-Cookie', cookie);
  return fields;
}

function set(fields: Fields, name: string, value: string): void {
  fields.names.push(name);
  fields.keys.push(name.toLowerCase());
  fields.values.push(value);
}
