// What the options of a web service must look like: asked by the API when a service is saved. A gateway that gets worse narrows, never widens.
import { canonicalHeaderName, fieldValueProblem, requestFieldProblem, responseFieldProblem } from './field-names.ts';
import type { HeaderEdits, OwnAnswer, RouteMatch } from './web.ts';

/** Entries of each list of edits, and conditions of a route. */
const editsPerList = 32;
const conditionsPerRoute = 16;
/** Bytes of an answer's body. */
const ownBodyBytes = 65_536;

/** Why header edits cannot be made, or undefined where they can. */
export function headerEditsProblem(edits: HeaderEdits, direction: 'request' | 'response'): string | undefined {
  const nameProblem = direction === 'request' ? requestFieldProblem : responseFieldProblem;
  const written = [...Object.entries(edits.set), ...Object.entries(edits.add)];
  if (Math.max(edits.remove.length, Object.keys(edits.set).length, Object.keys(edits.add).length) > editsPerList) {
    return `at most ${editsPerList} headers are removed, set or added`;
  }
  for (const name of [...edits.remove, ...written.map(([written]) => written)]) {
    const problem = nameProblem(name);
    if (problem !== undefined) return problem;
  }
  for (const [name, value] of written) {
    const problem = fieldValueProblem(name, value);
    if (problem !== undefined) return problem;
  }
  const set = Object.keys(edits.set).map(canonicalHeaderName);
  if (new Set(set).size !== set.length) return 'a header is set twice, in two spellings';
  return undefined;
}

/** Why a route's conditions can never hold, or undefined where they can. Fields that clients only claim count for nothing. */
export function routeMatchProblem({ methods, headers }: RouteMatch): string | undefined {
  if (methods.length > conditionsPerRoute || headers.length > conditionsPerRoute)
    return `a route has at most ${conditionsPerRoute} methods and headers`;
  if (methods.some((method) => !/^[A-Z][A-Z-]{0,31}$/.test(method))) return 'a method has capital letters only';
  if (methods.some((method) => ['CONNECT', 'TRACE', 'TRACK'].includes(method))) return 'the methods CONNECT, TRACE and TRACK are never served';
  for (const { name, value } of headers) {
    const problem = requestFieldProblem(name) ?? (value === undefined ? undefined : fieldValueProblem(name, value));
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/** Why the gateway could not answer so, or undefined where it can. */
export function ownAnswerProblem({ match, answer }: OwnAnswer): string | undefined {
  const problem = routeMatchProblem(match);
  if (problem !== undefined) return problem;
  switch (answer.kind) {
    case 'respond': {
      const { status, contentType, body } = answer;
      if (!Number.isInteger(status) || status < 200 || status > 599) return 'the status of an answer is from 200 to 599';
      if ([204, 205, 304].includes(status) && body !== '') return `an answer with the status ${status} has no body`;
      if (Buffer.byteLength(body) > ownBodyBytes) return `the body of an answer has at most ${ownBodyBytes} bytes`;
      return contentType === '' ? undefined : fieldValueProblem('Content-Type', contentType);
    }
    case 'redirect': {
      const { status, location, keepPath } = answer;
      if (![301, 302, 303, 307, 308].includes(status)) return 'the status of a redirect is 301, 302, 303, 307 or 308';
      if (
        location.length > 2_048 ||
        !/^(?:https?:\/\/[A-Za-z0-9.:[\]-]+(?:[/?#][\x21-\x5b\x5d-\x7e]*)?|\/(?!\/)[\x21-\x5b\x5d-\x7e]*)$/.test(location)
      ) {
        return 'a redirect leads to an http or https URL, or to a path that begins with one /';
      }
      return keepPath && /[?#]/.test(location) ? 'a redirect that keeps the path has no query and no fragment of its own' : undefined;
    }
  }
}
