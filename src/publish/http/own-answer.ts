// Routes that the gateway answers itself: a fixed answer, or a redirect. Made once for each route.
import { isFieldValue, type Fields } from '#wire/http1-fields.ts';
import type { OwnAnswer } from '#model/web.ts';
import { ownAnswerProblem } from '#model/web-rules.ts';
import { addFields } from './answer-edits.ts';
import type { ResponseEdits } from './header-edits.ts';
import { behindPrefix, type Behind } from './location.ts';
import type { Exchange } from './exchange.ts';

export type CompiledAnswer =
  | { readonly kind: 'respond'; readonly status: number; readonly contentType: string; readonly body: Buffer }
  | { readonly kind: 'redirect'; readonly status: number; readonly location: string; readonly keepPath: boolean }
  /** It cannot be given. Its path stays taken: nobody else answers there instead. */
  | { readonly kind: 'broken'; readonly problem: string };

export function compileAnswer(own: OwnAnswer): CompiledAnswer {
  const problem = ownAnswerProblem(own);
  if (problem !== undefined) return { kind: 'broken', problem };
  const { answer } = own;
  switch (answer.kind) {
    case 'respond':
      return { kind: 'respond', status: answer.status, contentType: answer.contentType, body: Buffer.from(answer.body) };
    case 'redirect':
      // What is appended begins with a slash.
      return { ...answer, location: answer.keepPath ? answer.location.replace(/\/$/, '') : answer.location };
  }
}

/** Where the request's rest is appended to a path: then it must not be readable as one that climbs out of it. */
export function leadsBelow(answer: CompiledAnswer): boolean {
  return answer.kind === 'redirect' && answer.keepPath && /^(?:https?:\/\/[^/]+)?\/./.test(answer.location);
}

/** The redirect's URL. Always absolute, so that no spelling of a path names another host (attack row R-1). `rest` is what is behind the route's path. */
export function redirectLocation(answer: CompiledAnswer & { kind: 'redirect' }, origin: string, rest: string, query: string): string {
  const location = /^https?:/.test(answer.location) ? answer.location : origin + answer.location;
  return answer.keepPath ? location + rest + query : location;
}

/** Answers and ends the exchange. */
export function giveAnswer(
  exchange: Exchange,
  answer: CompiledAnswer & { kind: 'respond' | 'redirect' },
  location: string,
  edits: ResponseEdits | undefined,
  behind: Behind | undefined,
): void {
  const fields: Fields = { names: [], keys: [], values: [] };
  const body = answer.kind === 'respond' ? answer.body : Buffer.alloc(0);
  const leads = isFieldValue(location) ? location : '/';
  if (answer.kind === 'redirect') push(fields, 'Location', behind === undefined ? leads : behindPrefix(leads, behind));
  else if (answer.contentType !== '' && edits?.names.has('content-type') !== true) push(fields, 'Content-Type', answer.contentType);
  if (edits !== undefined) addFields(fields, edits);
  exchange.answer({ status: answer.status, reason: '', fields, length: body.length, statedLength: body.length });
  exchange.write(body);
  exchange.end(undefined);
}

function push(fields: Fields, name: string, value: string): void {
  fields.names.push(name);
  fields.keys.push(name.toLowerCase());
  fields.values.push(value);
}
