// What a CrowdSec LAPI tells a bouncer in stream mode: everything at the start, and later what was added and deleted since the last time.
import { request } from 'undici';
import { isPlainObject } from '#lib/schema.ts';
import { crowdsecBodyBytes } from '../constants.ts';
import { gatewayError } from '../errors.ts';
import type { Decision } from './decisions.ts';

export interface DecisionStream {
  readonly added: readonly Decision[];
  readonly deleted: readonly Decision[];
  /** Decisions that could not be read. */
  readonly unread: number;
}

export interface LapiAddress {
  /** Of the LAPI itself, such as `http://127.0.0.1:8080/`. */
  readonly url: URL;
  readonly key: string;
}

/** Asks once. Rejects with GATEWAY_CROWDSEC, or as a connection that does not come about. */
export async function askDecisions({ url, key }: LapiAddress, startup: boolean, signal: AbortSignal): Promise<DecisionStream> {
  const target = new URL('v1/decisions/stream', url.href.endsWith('/') ? url : `${url.href}/`);
  target.searchParams.set('startup', String(startup));
  target.searchParams.set('scopes', 'ip,range,country,as');
  const answer = await request(target, { headers: { 'x-api-key': key, 'user-agent': 'meshgate/1', accept: 'application/json' }, signal });
  if (answer.statusCode !== 200) {
    await answer.body.dump();
    throw gatewayError(
      'GATEWAY_CROWDSEC',
      answer.statusCode === 401 || answer.statusCode === 403 ? 'it refuses the key' : `status ${answer.statusCode}`,
    );
  }
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of answer.body as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > crowdsecBodyBytes) throw gatewayError('GATEWAY_CROWDSEC', 'its answer is too long');
    chunks.push(chunk);
  }
  let body: unknown;
  try {
    body = JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch (error) {
    throw gatewayError('GATEWAY_CROWDSEC', 'its answer is no JSON', error);
  }
  // Without any decision a list is null.
  if (!isPlainObject(body) || !isList(body['new']) || !isList(body['deleted'])) throw gatewayError('GATEWAY_CROWDSEC', 'its answer has no decisions');
  const scenarios = new Map<string, string>();
  const read = (list: unknown): Decision[] => (Array.isArray(list) ? list.flatMap((entry: unknown) => decisionFrom(entry, scenarios) ?? []) : []);
  const [added, deleted] = [read(body['new']), read(body['deleted'])];
  return { added, deleted, unread: lengthOf(body['new']) - added.length };
}

function isList(value: unknown): boolean {
  return value === null || value === undefined || Array.isArray(value);
}

function lengthOf(value: unknown): number {
  return Array.isArray(value) ? value.length : 0;
}

function decisionFrom(entry: unknown, scenarios: Map<string, string>): Decision | undefined {
  if (!isPlainObject(entry)) return undefined;
  const { id, value, scenario } = entry;
  const scope = scopeFrom(entry['scope']);
  if (typeof id !== 'number' || typeof value !== 'string' || scope === undefined) return undefined;
  const text = typeof scenario === 'string' ? scenario.slice(0, 128) : '';
  // Thousands of decisions name the same few.
  const kept = scenarios.get(text) ?? text;
  scenarios.set(kept, kept);
  return { id, scope, value, scenario: kept };
}

const scopes = ['ip', 'range', 'country', 'as'] as const satisfies readonly Decision['scope'][];

function scopeFrom(scope: unknown): Decision['scope'] | undefined {
  const name = typeof scope === 'string' ? scope.toLowerCase() : '';
  return scopes.find((known) => known === name);
}
