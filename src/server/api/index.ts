// The REST API under /api: NetBird's shapes over the control domain. This file is the way of one request; the endpoints are in routes.ts.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '#lib/clock.ts';
import { describeError, errorCode, MeshgateError } from '#lib/errors.ts';
import { callerNetwork } from '#lib/ip.ts';
import type { Logger } from '#lib/log.ts';
import { formatIssue, issuesOf } from '#lib/schema-errors.ts';
import type { ControlDomain } from '../domain/contract.ts';
import { roleAllows } from './access.ts';
import { authenticate, type VerifyAccessToken } from './authenticate.ts';
import type { Answer, ApiContext, OpenCall } from './call.ts';
import * as limits from './constants.ts';
import { apiError } from './errors.ts';
import { ApiFigures } from './figures.ts';
import { Limiter } from './limiter.ts';
import { readJson } from './request-body.ts';
import { type Found, Router } from './router.ts';
import { routes, type Route } from './routes.ts';

export interface ApiOptions {
  readonly domain: ControlDomain;
  readonly verifyAccessToken: VerifyAccessToken;
  readonly log: Logger;
  readonly clock: Clock;
  readonly version: string;
  /** What a connected peer last said of its paths; without it, peers have none. */
  readonly pathsOf?: ApiContext['pathsOf'];
  /** Origins whose pages may call the API from a browser, such as `https://admin.example.com`. None unless told: the dashboard is same-origin. */
  readonly corsOrigins?: readonly string[];
}

export interface Api {
  /** Answers one request whose target begins with `/api`. Never throws. */
  handle(request: IncomingMessage, response: ServerResponse): void;
  readonly figures: ApiFigures;
}

/** Makes the API. It starts nothing and holds only the limiters' memory, so there is nothing to close. */
export function createApi(options: ApiOptions): Api {
  const { log, clock, domain } = options;
  const limiter = (burst: number, intervalMs: number): Limiter => new Limiter({ burst, intervalMs, maxKeys: limits.maxLimitedAddresses });
  const openCalls = limiter(limits.openBurst, limits.openIntervalMs);
  const failures = limiter(limits.failureBurst, limits.failureIntervalMs);
  const passwordLimiter = limiter(limits.passwordBurst, limits.passwordIntervalMs);
  const context: ApiContext = { domain, clock, version: options.version, passwordLimiter, pathsOf: options.pathsOf ?? (() => undefined) };
  const router = new Router(routes);
  const figures = new ApiFigures();

  async function answer(request: IncomingMessage, response: ServerResponse, found: Found | undefined, query: string): Promise<Answer> {
    if ((request.url ?? '').length > limits.maxUrlLength) throw apiError('API_URL_TOO_LONG');
    if (found === undefined || found.kind === 'nothing') throw apiError('API_NOT_FOUND');
    if (found.kind === 'malformed') throw apiError('API_PATH_INVALID');
    if (found.kind === 'other-methods') {
      response.setHeader('Allow', found.allow.join(', '));
      if (request.method === 'OPTIONS') return { status: 204, body: undefined };
      throw apiError('API_METHOD_NOT_ALLOWED', request.method ?? '');
    }
    const { route } = found;
    const from = callerNetwork(request.socket.remoteAddress);
    const call = (body: unknown): OpenCall => ({ ...context, body, query: new URLSearchParams(query), params: found.params });
    if (route.access === 'anyone') {
      admit(openCalls, from, response, openCalls.take(from, clock.now()));
      return inTime(route.handle(call(await bodyOf(request, route, limits.maxOpenBodyBytes))));
    }
    admit(failures, from, response, failures.allows(from, clock.now()));
    const caller = await inTime(authenticate(request.headers.authorization, domain, options.verifyAccessToken)).catch((error: unknown) => {
      if (errorCode(error) === 'API_UNAUTHENTICATED') failures.take(from, clock.now());
      throw error;
    });
    if (!roleAllows(caller.role, route.access)) throw apiError('API_FORBIDDEN', `${caller.id} is ${caller.role}, ${route.method} ${route.path}`);
    const body = await bodyOf(request, route, limits.maxBodyBytes);
    return inTime(route.handle({ ...call(body), caller, actor: { kind: 'user', id: caller.id } }));
  }

  function admit(limiter: Limiter, key: string, response: ServerResponse, allowed: boolean): void {
    if (allowed) return;
    response.setHeader('Retry-After', String(limiter.retrySeconds(key, clock.now())));
    throw apiError('API_LIMITED', key);
  }

  async function bodyOf(request: IncomingMessage, route: Route, maxBytes: number): Promise<unknown> {
    return route.method === 'GET' || route.method === 'DELETE' ? undefined : readJson(request, maxBytes, clock);
  }

  /** The caller gets an answer by the deadline; the work behind it is the domain's to end. */
  function inTime<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const deadline = clock.after(limits.handlerDeadlineMs, () => reject(apiError('API_TIMEOUT')));
      void work.then(resolve, reject).finally(() => deadline.cancel());
    });
  }

  function handle(request: IncomingMessage, response: ServerResponse): void {
    const startedAt = clock.now();
    response.on('error', () => undefined); // the caller has gone; there is nobody left to tell
    allowOrigin(request, response, options.corsOrigins ?? []);
    const url = request.url ?? '';
    const [target = '', query = ''] = splitOnce(url.length > limits.maxUrlLength ? '' : url, '?');
    const found = target === '/api' || target.startsWith('/api/') ? router.find(request.method ?? '', target.slice(4)) : undefined;
    void answer(request, response, found, query)
      .catch((error: unknown) => refusal(error, response))
      .then((result) => {
        send(request, response, result);
        const ms = clock.now() - startedAt;
        figures.record(found?.kind === 'route' ? found.route : undefined, result.status, ms);
        // The query is left out: people paste tokens into it.
        const path = target.slice(0, 200);
        log.debug('api request', { method: request.method, path, status: result.status, ms: Math.round(ms) });
      })
      .catch((error: unknown) => {
        log.error('api answer failed', { reason: describeError(error) });
        response.destroy();
      });
  }

  function refusal(error: unknown, response: ServerResponse): Reply {
    const known = error instanceof MeshgateError ? error : apiError('API_INTERNAL', '', error);
    const { status } = known.row;
    if (status >= 500) log.error('api request failed', { reason: describeError(known) });
    else log.info('api request refused', { reason: describeError(known) });
    if (status === 401) response.setHeader('WWW-Authenticate', 'Bearer realm="meshgate"');
    const issues = issuesOf(known).map(formatIssue).join('; ').slice(0, 4000);
    const text = issues === '' ? known.message : issues;
    return { status, body: { message: text.charAt(0).toLowerCase() + text.slice(1), code: status } };
  }

  return { handle, figures };
}

interface Reply {
  readonly status: number;
  readonly body: unknown;
}

function send(request: IncomingMessage, response: ServerResponse, reply: Reply): void {
  response.statusCode = reply.status;
  response.setHeader('Cache-Control', 'no-store');
  response.setHeader('X-Content-Type-Options', 'nosniff');
  // A body that nobody reads to its end would be taken for the next request.
  if (!request.complete) response.setHeader('Connection', 'close');
  if (reply.status === 204) {
    response.end();
    return;
  }
  const bytes = Buffer.from(JSON.stringify(reply.body));
  response.setHeader('Content-Type', 'application/json; charset=UTF-8');
  response.setHeader('Content-Length', bytes.length);
  response.end(bytes);
}

function allowOrigin(request: IncomingMessage, response: ServerResponse, origins: readonly string[]): void {
  response.setHeader('Vary', 'Origin');
  const { origin } = request.headers;
  if (origin === undefined || !origins.includes(origin)) return;
  response.setHeader('Access-Control-Allow-Origin', origin);
  if (request.method !== 'OPTIONS') return;
  response.setHeader('Access-Control-Allow-Methods', 'GET, POST, PUT, DELETE');
  response.setHeader('Access-Control-Allow-Headers', 'Authorization, Content-Type');
  response.setHeader('Access-Control-Max-Age', '600');
}

function splitOnce(text: string, mark: string): readonly string[] {
  const at = text.indexOf(mark);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}
