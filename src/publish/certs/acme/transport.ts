// HTTP towards certificate authorities: acme-client's requests go through here, so that every call has a deadline, its authority's own roots and
// a bounded answer, and so that a refusal keeps its type and Retry-After, which acme-client's errors lose.
import { AsyncLocalStorage } from 'node:async_hooks';
import { rootCertificates } from 'node:tls';
import { axios } from 'acme-client';
import { Agent, request } from 'undici';
import { describeError, errorCode } from '#lib/errors.ts';
import { ACME_ANSWER_BYTES, ACME_CALL_MS } from './constants.ts';
import type { AcmeFailure } from './types.ts';

/** Thrown out of acme-client's calls. */
export class AcmeProblem extends Error {
  override readonly name = 'AcmeProblem';
  readonly failure: AcmeFailure;

  constructor(failure: AcmeFailure, cause?: unknown) {
    super(failure.reason, { cause });
    this.failure = failure;
  }
}

export interface Answer {
  readonly status: number;
  readonly statusText: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

/** The connections to one authority. */
export class Transport {
  readonly #agent: Agent;

  constructor(ca: string | undefined) {
    const roots = ca === undefined ? {} : { ca: [...rootCertificates, ca] };
    this.#agent = new Agent({
      connect: { ...roots, timeout: ACME_CALL_MS },
      headersTimeout: ACME_CALL_MS,
      bodyTimeout: ACME_CALL_MS,
      connections: 4,
    });
  }

  /** Runs calls of acme-client over these connections. Whatever they throw comes out as AcmeProblem. */
  async run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    try {
      return await running.run({ transport: this, signal }, work);
    } catch (error) {
      throw error instanceof AcmeProblem ? error : new AcmeProblem(unavailable(error), error);
    }
  }

  async send(method: string, url: string, headers: Readonly<Record<string, string>>, body: string | undefined, signal: AbortSignal): Promise<Answer> {
    try {
      const deadline = AbortSignal.any([signal, AbortSignal.timeout(ACME_CALL_MS)]);
      const answer = await request(url, {
        method: method as 'GET',
        headers,
        ...(body === undefined ? {} : { body }),
        signal: deadline,
        dispatcher: this.#agent,
      });
      const parts: Buffer[] = [];
      let size = 0;
      for await (const part of answer.body as AsyncIterable<Buffer>) {
        size += part.length;
        if (size > ACME_ANSWER_BYTES)
          throw new AcmeProblem({ kind: 'unavailable', reason: 'the authority’s answer is too large', retryAfterMs: undefined });
        parts.push(part);
      }
      return { status: answer.statusCode, statusText: answer.statusText, headers: answer.headers, body: Buffer.concat(parts).toString('utf8') };
    } catch (error) {
      throw error instanceof AcmeProblem ? error : new AcmeProblem(unavailable(error), error);
    }
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }
}

const running = new AsyncLocalStorage<{ readonly transport: Transport; readonly signal: AbortSignal }>();

// acme-client has one axios for the whole process; who calls is found by the asynchronous context. Its own retries sleep without a deadline.
Object.assign(axios.defaults, { acmeSettings: { retryMaxAttempts: 0, retryDefaultDelay: 0 } });
axios.defaults.headers.common['User-Agent'] = 'meshgate acme-client';
axios.defaults.adapter = async (config) => {
  const context = running.getStore();
  if (context === undefined) throw new TypeError('acme-client is called outside Transport.run');
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(config.headers.toJSON())) if (typeof value === 'string') headers[name] = value;
  const method = (config.method ?? 'get').toUpperCase();
  const answer = await context.transport.send(
    method,
    config.url ?? '',
    headers,
    typeof config.data === 'string' ? config.data : undefined,
    context.signal,
  );
  const problem = answer.status < 400 ? undefined : problemIn(answer.body);
  // acme-client answers a bad nonce with the new one itself (RFC 8555 §6.5).
  if (answer.status >= 400 && problem?.type !== 'badNonce') throw new AcmeProblem(failureOf(answer, problem));
  return {
    data: answer.body,
    status: answer.status,
    statusText: answer.statusText,
    headers: answer.headers as Record<string, string>,
    config,
    request: undefined,
  };
};

export interface Problem {
  /** Without `urn:ietf:params:acme:error:`. */
  readonly type: string;
  readonly detail: string;
}

/** A problem document (RFC 7807), also where it stands in an order, an authorization or a challenge. */
export function problemOf(value: unknown): Problem | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const type = 'type' in value && typeof value.type === 'string' ? value.type.replace('urn:ietf:params:acme:error:', '') : '';
  const detail = 'detail' in value && typeof value.detail === 'string' ? value.detail : '';
  const parts = 'subproblems' in value && Array.isArray(value.subproblems) ? value.subproblems.map((part) => problemOf(part)?.detail ?? '') : [];
  return { type, detail: plainLine([detail, ...parts].filter((part) => part !== '').join('; ')) };
}

function problemIn(body: string): Problem | undefined {
  try {
    return problemOf(JSON.parse(body));
  } catch {
    return undefined;
  }
}

/** One line of at most 400 characters without control characters: it goes to logs and terminals. */
export function plainLine(text: string): string {
  return text
    .replaceAll(/[\u0000-\u001f\u007f-\u009f\s]+/g, ' ')
    .trim()
    .slice(0, 400);
}

function failureOf(answer: Answer, problem: Problem | undefined): AcmeFailure {
  const reason =
    problem === undefined ? `the authority answered ${answer.status}` : `${problem.detail || 'no detail'} (${problem.type || answer.status})`;
  const retryAfterMs = retryAfter(answer.headers['retry-after'], Date.parse(String(answer.headers['date'] ?? '')));
  if (answer.status === 429 || problem?.type === 'rateLimited') return { kind: 'limited', reason, retryAfterMs };
  if (answer.status >= 500 || problem === undefined || problem.type === 'badNonce') return { kind: 'unavailable', reason, retryAfterMs };
  return { kind: validationTypes.has(problem.type) ? 'validation' : 'refused', reason, retryAfterMs };
}

/** RFC 8555 §6.7: what the state of a name's DNS and servers causes. */
const validationTypes = new Set(['connection', 'dns', 'incorrectResponse', 'tls']);

/** Retry-After in milliseconds (RFC 9110 §10.2.3); a date counts from the answer's own date. */
export function retryAfter(value: string | string[] | undefined, answeredAt: number): number | undefined {
  const text = Array.isArray(value) ? value[0] : value;
  if (text === undefined) return undefined;
  if (/^[0-9]{1,9}$/.test(text)) return Number(text) * 1_000;
  const at = Date.parse(text);
  return Number.isNaN(at) || Number.isNaN(answeredAt) || at <= answeredAt ? undefined : at - answeredAt;
}

function unavailable(error: unknown): AcmeFailure {
  const code = errorCode(error);
  const name = error instanceof Error ? error.name : '';
  const reason =
    name === 'TimeoutError' ? `no answer within ${ACME_CALL_MS / 1000} s` : code === undefined ? describeError(error) : `cannot be reached (${code})`;
  return { kind: 'unavailable', reason: plainLine(reason), retryAfterMs: undefined };
}
