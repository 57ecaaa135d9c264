// Calls of the REST API. Names under localhost are this machine, redirects are not followed, answers are bounded.
import type { LookupAddress } from 'node:dns';
import { callbackify } from 'node:util';
import { Agent, request, type Dispatcher } from 'undici';
import { describeError, errorCode, MeshgateError } from '#lib/errors.ts';
import type { Closable } from '#lib/lifecycle.ts';
import { resolveHost } from '#lib/resolve.ts';
import { apiTimeoutMs, maxAnswerBytes } from './constants.ts';
import { cliError } from './errors.ts';
import { readText } from './files.ts';

export type ApiMethod = 'GET' | 'POST' | 'PUT' | 'DELETE';

export interface ApiClient extends Closable {
  /** `path` begins with /api. The JSON of the answer; CLI_API_REFUSED with the server's own words, CLI_API_UNREACHABLE where there are none. */
  call(method: ApiMethod, path: string, body?: unknown): Promise<unknown>;
}

export interface ApiTarget {
  readonly api: string;
  readonly token: string | undefined;
  readonly ca: string | undefined;
}

/** As node:dns does with `all`, but with names under localhost kept on this machine. */
async function lookupAll(host: string, _options: unknown): Promise<LookupAddress[]> {
  return (await resolveHost(host)).map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
}

async function openAgent(caFile: string | undefined): Promise<Agent> {
  const ca = caFile === undefined ? undefined : (await readText(caFile)).text;
  return new Agent({ maxResponseSize: maxAnswerBytes, connect: { ...(ca === undefined ? {} : { ca }), lookup: callbackify(lookupAll) } });
}

/** Posts a form, as OAuth 2.0 wants it, to a path of the server. The JSON of the answer, whatever its status; CLI_API_UNREACHABLE. */
export async function postForm(target: ApiTarget, path: string, fields: Readonly<Record<string, string>>, stop: AbortSignal): Promise<unknown> {
  const agent = await openAgent(target.ca);
  try {
    const response = await request(`${target.api}${path}`, {
      method: 'POST',
      dispatcher: agent,
      headers: { accept: 'application/json', 'content-type': 'application/x-www-form-urlencoded' },
      signal: AbortSignal.any([stop, AbortSignal.timeout(apiTimeoutMs)]),
      body: new URLSearchParams(fields).toString(),
    });
    return readJson(target.api, await response.body.text());
  } catch (error) {
    if (error instanceof MeshgateError) throw error;
    throw cliError('CLI_API_UNREACHABLE', `${target.api}: ${reasonOf(error)}`, error);
  } finally {
    await agent.close();
  }
}

/** `stop` aborts what is under way. */
export async function openApi(target: ApiTarget, stop: AbortSignal): Promise<ApiClient> {
  const agent = await openAgent(target.ca);
  return {
    async call(method, path, body) {
      const answer = await send(agent, target, method, path, body, stop);
      if (answer.status >= 200 && answer.status < 300) return answer.text === '' ? undefined : readJson(target.api, answer.text);
      throw cliError('CLI_API_REFUSED', `${answer.status}: ${messageOf(answer.text)}`);
    },
    close: () => agent.close(),
  };
}

async function send(
  agent: Dispatcher,
  target: ApiTarget,
  method: ApiMethod,
  path: string,
  body: unknown,
  stop: AbortSignal,
): Promise<{ readonly status: number; readonly text: string }> {
  try {
    const response = await request(`${target.api}${path}`, {
      method,
      dispatcher: agent,
      headers: {
        accept: 'application/json',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(target.token === undefined ? {} : { authorization: `${target.token.startsWith('nbp_') ? 'Token' : 'Bearer'} ${target.token}` }),
      },
      signal: AbortSignal.any([stop, AbortSignal.timeout(apiTimeoutMs)]),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.statusCode, text: await response.body.text() };
  } catch (error) {
    throw cliError('CLI_API_UNREACHABLE', `${target.api}: ${reasonOf(error)}`, error);
  }
}

const untrusted = 'its certificate is not trusted here; name the PEM file of its authority with --ca';
const reasons: Readonly<Record<string, string>> = {
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: untrusted,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: untrusted,
  SELF_SIGNED_CERT_IN_CHAIN: untrusted,
  DEPTH_ZERO_SELF_SIGNED_CERT: untrusted,
  CERT_HAS_EXPIRED: 'its certificate has expired',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another name',
  ECONNREFUSED: 'nothing listens there',
  ENOTFOUND: 'there is no such host',
};

function reasonOf(error: unknown): string {
  const code = errorCode(error);
  return code === undefined ? describeError(error) : (reasons[code] ?? code);
}

function readJson(api: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw cliError('CLI_API_REFUSED', `${api} does not answer in JSON; is it a Meshgate server?`);
  }
}

function messageOf(text: string): string {
  try {
    const body: unknown = JSON.parse(text);
    if (typeof body === 'object' && body !== null && 'message' in body && typeof body.message === 'string') return body.message.slice(0, 4000);
  } catch {
    // not ours: the status has to be enough
  }
  return 'no message';
}
