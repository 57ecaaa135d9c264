// Whether an answer is compressed on its way to the client, and what its head says then (RFC 9110 §8.4, §12.5.3). Off unless a service asks for it.
import { fieldValue, joinedValue, listMembers, type Fields } from '#wire/http1-fields.ts';
import { COMPRESS_BYTES } from '../constants.ts';
import type { Answer, ExchangeRequest } from './exchange.ts';

/** In the order of choice where a client likes several alike: by speed for what they save. */
export const codings = ['zstd', 'br', 'gzip'] as const;
export type Coding = (typeof codings)[number];

export interface CodedAnswer {
  readonly answer: Answer;
  /** Undefined where the body stays as it is. */
  readonly coding: Coding | undefined;
}

/** Types whose bodies repeat themselves. Events are not among them: each has to go out at once, and on its own it is small. */
const compressible =
  /^(?:text\/(?!event-stream)[^;]+|application\/(?:json|javascript|x-javascript|xml|wasm|x-ndjson|graphql|vnd\.ms-fontobject|[^;]+\+(?:json|xml))|image\/(?:svg\+xml|bmp|x-icon)|font\/(?:ttf|otf|collection))[ \t]*(?:;|$)/i;

/** Fields that say something about the very bytes of the body. */
const aboutBytes = ['content-encoding', 'content-range', 'content-digest', 'repr-digest', 'digest', 'content-md5'];

/**
 * The answer as the client gets it, `answer` itself where nothing changes. HEAD is told what GET would be, a 304 what the client's copy is called.
 * `busy` says that no further body can be compressed now.
 */
export function codeAnswer(request: ExchangeRequest, answer: Answer, busy: boolean): CodedAnswer {
  if (answer.status === 304) return { answer: { ...answer, fields: asHeld(request.fields, answer.fields) }, coding: undefined };
  if (!mayChange(request, answer)) return { answer, coding: undefined };
  // Caches have to keep apart what is asked for differently, also where this client gets it plain.
  const fields = withVary(answer.fields);
  const coding = busy || request.version === '1.0' ? undefined : chooseCoding(joinedValue(request.fields, 'accept-encoding'));
  if (coding === undefined) return { answer: { ...answer, fields }, coding };
  for (let i = fields.keys.length - 1; i >= 0; i--) {
    if (fields.keys[i] === 'etag') fields.values[i] = weak(fields.values[i] ?? '');
    // Ranges are of the upstream's bytes, which this answer has not.
    if (fields.keys[i] === 'accept-ranges') remove(fields, i);
  }
  fields.names.push('Content-Encoding');
  fields.keys.push('content-encoding');
  fields.values.push(coding);
  return { answer: { ...answer, fields, length: undefined, statedLength: undefined }, coding: request.method === 'HEAD' ? undefined : coding };
}

/** The coding that a client likes best, or undefined where it takes none of ours. */
export function chooseCoding(accepted: string | undefined): Coding | undefined {
  if (accepted === undefined) return undefined;
  const weights = new Map<string, number>();
  for (const member of listMembers(accepted)) {
    const [name = '', ...parameters] = member.split(';').map((part) => part.trim());
    const quality = parameters.find((parameter) => parameter.startsWith('q='))?.slice(2);
    weights.set(name, quality === undefined ? 1 : /^(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)$/.test(quality) ? Number(quality) : 0);
  }
  let best: Coding | undefined;
  let most = 0;
  for (const coding of codings) {
    const weight = weights.get(coding) ?? (coding === 'gzip' ? weights.get('x-gzip') : undefined) ?? weights.get('*') ?? 0;
    if (weight > most) {
      best = coding;
      most = weight;
    }
  }
  // Who likes it plain better gets it plain.
  return most < (weights.get('identity') ?? 0) ? undefined : best;
}

function mayChange(request: ExchangeRequest, { status, fields, length, statedLength }: Answer): boolean {
  if (status < 200 || status === 204 || status === 205 || status === 206) return false;
  const size = request.method === 'HEAD' ? statedLength : length;
  if (size !== undefined && size < COMPRESS_BYTES) return false;
  const type = fieldValue(fields, 'content-type');
  if (type === undefined || !compressible.test(type)) return false;
  if (aboutBytes.some((key) => fields.keys.includes(key))) return false;
  const caching = joinedValue(fields, 'cache-control');
  return caching === undefined || !listMembers(caching).includes('no-transform');
}

/** A validator is weakened in a 304 where the client's copy has it weakened: it holds the compressed body. */
function asHeld(asked: Fields, fields: Fields): Fields {
  const tag = fieldValue(fields, 'etag');
  const held = joinedValue(asked, 'if-none-match');
  if (tag === undefined || held === undefined || weak(tag) === tag || !held.includes(weak(tag))) return fields;
  const out = withVary(fields);
  for (let i = 0; i < out.keys.length; i++) if (out.keys[i] === 'etag') out.values[i] = weak(tag);
  return out;
}

/** The upstream's bytes and ours have one meaning and not the same bytes (RFC 9110 §8.8.1). */
function weak(tag: string): string {
  return tag.startsWith('"') ? `W/${tag}` : tag;
}

function withVary(fields: Fields): Fields {
  const vary = joinedValue(fields, 'vary');
  const members = vary === undefined ? [] : listMembers(vary);
  const out: Fields = { names: [...fields.names], keys: [...fields.keys], values: [...fields.values] };
  if (members.includes('*') || members.includes('accept-encoding')) return out;
  out.names.push('Vary');
  out.keys.push('vary');
  out.values.push('Accept-Encoding');
  return out;
}

function remove({ names, keys, values }: Fields, index: number): void {
  names.splice(index, 1);
  keys.splice(index, 1);
  values.splice(index, 1);
}
