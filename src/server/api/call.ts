// One request as a handler sees it, and the answer it gives back. Handlers never touch sockets or headers.
import type { Clock } from '#lib/clock.ts';
import { fromText } from '#lib/schema-config.ts';
import { parseOrThrow, type Schema } from '#lib/schema.ts';
import type { User } from '#model/identity.ts';
import { asId, type Brand, type PublicKey } from '#model/ids.ts';
import type { KeptReport } from '#model/path-report.ts';
import type { Actor, ControlDomain } from '../domain/contract.ts';
import { maxPathPartLength } from './constants.ts';
import { apiError } from './errors.ts';
import type { Limiter } from './limiter.ts';

export interface Answer {
  readonly status: 200 | 202 | 204;
  /** Written as JSON; not at all with 204. */
  readonly body: unknown;
}

/** What every handler may use. */
export interface ApiContext {
  readonly domain: ControlDomain;
  readonly clock: Clock;
  readonly version: string;
  /** Guards the check of old passwords, by user id. */
  readonly passwordLimiter: Limiter;
  /** What a connected peer last said of its paths. */
  readonly pathsOf: (peer: PublicKey) => KeptReport | undefined;
}

export interface OpenCall extends ApiContext {
  /** The parsed JSON body, or undefined where the method has none. Read it with `readBody`. */
  readonly body: unknown;
  readonly query: URLSearchParams;
  readonly params: Readonly<Record<string, string>>;
}

/** A call of somebody who is signed in and whose role allows it. */
export interface Call extends OpenCall {
  readonly caller: User;
  readonly actor: Actor;
}

export type OpenHandler = (call: OpenCall) => Promise<Answer>;
export type Handler = (call: Call) => Promise<Answer>;

export function ok(body: unknown): Answer {
  return { status: 200, body };
}

/** What a successful deletion says. */
export const deleted: Answer = { status: 200, body: {} };

/** The body by its schema. LIB_INPUT_INVALID names all issues. */
export function readBody<T>(call: OpenCall, schema: Schema<T>): T {
  return parseOrThrow(schema, call.body);
}

/** The query by an object schema of scalars. A parameter that comes twice counts once, the last one. `account` is everybody's and ignored. */
export function readQuery<T>(call: OpenCall, schema: Schema<T>): T {
  const fields = schema.shape.kind === 'object' ? schema.shape.fields : {};
  const entries = [...call.query].filter(([name, text]) => name !== 'account' && text !== '');
  return parseOrThrow(
    schema,
    Object.fromEntries(
      entries.map(([name, text]) => {
        const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
        return [name, field === undefined ? text : fromText(field, text)];
      }),
    ),
  );
}

/** A part of the path as an id. Printable ASCII without blanks; anything else is API_PATH_INVALID. */
export function idParam<Id extends Brand<string, string>>(call: OpenCall, name = 'id'): Id {
  return asId<Id>(textParam(call, name));
}

/** A part of the path as text of the same form as an id. */
export function textParam(call: OpenCall, name: string): string {
  const text = Object.hasOwn(call.params, name) ? (call.params[name] ?? '') : '';
  if (text.length > maxPathPartLength || !/^[\x21-\x7e]+$/.test(text)) throw apiError('API_PATH_INVALID', name);
  return text;
}
