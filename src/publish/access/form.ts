// Forms of our own pages: bound to the browser that they were shown to, read with limits.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { toBase64Url } from '#lib/bytes.ts';
import { fieldValue } from '#wire/http1-fields.ts';
import { FORM_BYTES } from '../constants.ts';
import type { BodySink, Exchange } from '../http/exchange.ts';
import type { SignInPlace } from './backend.ts';
import { formCookie, ownCookie, type OwnCookies } from './cookies.ts';

/** What a form carries so that no other site's page can send it: only this host's own pages see the cookie that it is made from. */
export interface FormSeal {
  readonly value: string;
  /** To be set with the page; none where the browser has one. */
  readonly setCookies: readonly string[];
}

export function sealForm({ form }: OwnCookies): FormSeal {
  if (form !== undefined && isBinding(form)) return { value: sealOf(form), setCookies: [] };
  const binding = toBase64Url(randomBytes(32));
  return { value: sealOf(binding), setCookies: [ownCookie(formCookie, binding, undefined)] };
}

function isBinding(text: string): boolean {
  return /^[\w-]{43}$/.test(text);
}

/** A page must not tell the cookie itself. */
function sealOf(binding: string): string {
  return createHash('sha256').update(`meshgate form ${binding}`).digest('base64url');
}

/**
 * The fields of a form that a page of this host has sent, or why there are none: `foreign` where it comes from elsewhere, or from another browser
 * (attack row A-16). Rejects where the signal aborts.
 */
export async function readForm(
  exchange: Exchange,
  place: SignInPlace,
  { form }: OwnCookies,
  signal: AbortSignal,
): Promise<URLSearchParams | 'foreign' | 'malformed' | 'body_too_large'> {
  const { fields, length } = exchange.request;
  const [origin, site] = [fieldValue(fields, 'origin'), fieldValue(fields, 'sec-fetch-site')];
  if ((origin !== undefined && origin !== place.origin) || (site !== undefined && site !== 'same-origin')) return 'foreign';
  if (!/^application\/x-www-form-urlencoded(?:;|$)/i.test(fieldValue(fields, 'content-type') ?? '')) return 'malformed';
  if (length !== undefined && length > FORM_BYTES) return 'body_too_large';
  const body = await readBody(exchange, signal);
  if (body === undefined) return 'body_too_large';
  const values = new URLSearchParams(body);
  const seal = Buffer.from(values.get('seal') ?? '');
  const expected = form === undefined || !isBinding(form) ? undefined : Buffer.from(sealOf(form));
  return expected !== undefined && seal.length === expected.length && timingSafeEqual(seal, expected) ? values : 'foreign';
}

/** Undefined where it is too long. */
function readBody(exchange: Exchange, signal: AbortSignal): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    let size = 0;
    const aborted = (): void => reject(signal.reason instanceof Error ? signal.reason : new DOMException('aborted', 'AbortError'));
    if (signal.aborted) return aborted();
    signal.addEventListener('abort', aborted, { once: true });
    const done = (text: string | undefined): void => {
      signal.removeEventListener('abort', aborted);
      resolve(text);
    };
    const sink: BodySink = {
      write: (payload) => {
        size += payload.length;
        if (size > FORM_BYTES) done(undefined);
        else pieces.push(Buffer.from(payload));
        return true;
      },
      flush: () => undefined,
      end: () => done(Buffer.concat(pieces).toString('utf8')),
      fail: () => reject(new DOMException('the form broke off', 'AbortError')),
    };
    exchange.readBody(sink);
  });
}
