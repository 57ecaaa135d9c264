// What our own pages send: headers that keep a page to itself, and forms read with limits.
import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { formBytes, formFieldLength, formMs } from './constants.ts';
import { idpError } from './errors.ts';
import { answerLength } from './webauthn.ts';
import { passkeyScript } from './pages/passkey-script.ts';
import { style } from './pages/style.ts';

const styleHash = hashOf(style);
const scriptHash = hashOf(passkeyScript);

function hashOf(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}

/**
 * The content security policy of a page. `targets` are URLs that a form may lead to besides ourselves: browsers hold redirects after
 * a form to it too. `script` lets the OpenID library add the hash of its one
 * script, or ours of passkeys run; nothing else runs anyway.
 */
export function contentPolicy(targets: readonly string[], script: 'none' | 'library' | 'passkeys' = 'none'): string {
  const origins = targets.flatMap((target) => URL.parse(target)?.origin ?? []).filter((origin) => origin !== 'null');
  const actions = ["'self'", ...new Set(origins)].join(' ');
  return [
    "default-src 'none'",
    ...(script === 'none' ? [] : [`script-src ${script === 'library' ? "'report-sample'" : scriptHash}`]),
    `style-src ${styleHash}`,
    `form-action ${actions}`,
    "frame-ancestors 'none'",
    "base-uri 'none'",
  ].join('; ');
}

/** Headers of every answer below /oauth2. Key set and discovery carry no secret, but a short life keeps rotation simple. */
export function setCommonHeaders(res: ServerResponse): void {
  res.setHeader('cache-control', 'no-store');
  res.setHeader('x-content-type-options', 'nosniff');
  res.setHeader('x-frame-options', 'DENY');
  res.setHeader('cross-origin-opener-policy', 'same-origin');
  res.setHeader('referrer-policy', 'same-origin');
}

export function sendPage(res: ServerResponse, status: number, html: string, targets: readonly string[] = []): void {
  send(res, status, html, contentPolicy(targets));
}

/** A page with the script of passkeys. */
export function sendPasskeyPage(res: ServerResponse, status: number, html: string, targets: readonly string[] = []): void {
  send(res, status, html, contentPolicy(targets, 'passkeys'));
}

function send(res: ServerResponse, status: number, html: string, policy: string): void {
  res.statusCode = status;
  res.setHeader('content-type', 'text/html; charset=utf-8');
  res.setHeader('content-security-policy', policy);
  res.setHeader('content-length', Buffer.byteLength(html));
  res.end(html);
}

/** Sends the browser on with GET. */
export function sendRedirect(res: ServerResponse, location: string): void {
  res.statusCode = 303;
  res.setHeader('location', location);
  res.setHeader('content-length', 0);
  res.end();
}

/** Cookies are added, never replaced: the library sets its own on the same answer. */
export function addCookies(res: ServerResponse, cookies: readonly string[]): void {
  const before = res.getHeader('set-cookie');
  res.setHeader('set-cookie', [...(before === undefined ? [] : [before].flat().map(String)), ...cookies]);
}

/**
 * The fields of a posted form. Throws IDP_FORM_FOREIGN where the browser says that another site sent it, IDP_FORM_INVALID,
 * IDP_FORM_TOO_LARGE and IDP_FORM_SLOW.
 */
export async function readForm(req: IncomingMessage, origin: string): Promise<ReadonlyMap<string, string>> {
  const site = req.headers['sec-fetch-site'];
  const from = req.headers.origin;
  if ((from !== undefined && from !== origin) || (site !== undefined && site !== 'same-origin' && site !== 'none'))
    throw idpError('IDP_FORM_FOREIGN');
  if (!/^application\/x-www-form-urlencoded(?:;|$)/i.test(req.headers['content-type'] ?? '')) throw idpError('IDP_FORM_INVALID');
  const fields = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(await readBody(req))) {
    if (fields.has(name) || value.length > (longFields.has(name) ? answerLength : formFieldLength))
      throw idpError('IDP_FORM_INVALID', name.slice(0, 40));
    fields.set(name, value);
  }
  return fields;
}

/** Fields that programs fill. */
const longFields: ReadonlySet<string> = new Set(['credential', 'logout_token']);

function readBody(req: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const done = (finish: () => void): void => {
      clearTimeout(timer);
      req.off('data', onData).off('end', onEnd).off('error', onError).off('close', onClose);
      finish();
    };
    const onData = (chunk: Buffer): void => {
      size += chunk.length;
      if (size > formBytes) done(() => reject(idpError('IDP_FORM_TOO_LARGE')));
      else chunks.push(chunk);
    };
    const onEnd = (): void => done(() => resolve(Buffer.concat(chunks).toString('utf8')));
    const onError = (cause: Error): void => done(() => reject(idpError('IDP_FORM_INVALID', 'the connection failed', cause)));
    const onClose = (): void => done(() => reject(idpError('IDP_FORM_INVALID', 'the connection closed')));
    const timer = setTimeout(() => done(() => reject(idpError('IDP_FORM_SLOW'))), formMs);
    req.on('data', onData).on('end', onEnd).on('error', onError).on('close', onClose);
  });
}
