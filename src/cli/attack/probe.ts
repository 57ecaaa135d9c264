// A probe judges one row: it sends the row's class to the port, and says what of the answers was not as it has to be.
import { maxProblems } from './constants.ts';
import type { Answer, Range } from './range.ts';

/** What the port does with a request that has no trick: what every refusal and every opened door is held against. */
export interface Baseline {
  /** Statuses of a plain GET / without credentials, by variant. */
  readonly door: Readonly<Partial<Record<Answer['variant'], number>>>;
  /** Whether that was refused: 401 or 403. */
  readonly guarded: boolean;
  /** The head of the same request as a browser makes it. */
  readonly browserHead: string;
}

export interface Echo {
  readonly path: string;
  /** `Authorization`, for the way to the echo. Never sent with a request of another purpose. */
  readonly authorization: string | undefined;
}

export interface Field {
  readonly range: Range;
  readonly baseline: Baseline;
  /** A path whose answer tells what the upstream received, where the owner named one that does. */
  readonly echo: Echo | undefined;
}

export type Finding =
  | { readonly kind: 'passed'; readonly tries: number }
  | { readonly kind: 'failed'; readonly problems: readonly string[] }
  | { readonly kind: 'not judged'; readonly reason: string };

export interface Probe {
  readonly id: string;
  readonly what: string;
  run(field: Field, judge: Judge): Promise<void>;
}

/** Counts what was tried and keeps what was wrong. A row without a try is not judged. */
export class Judge {
  #tries = 0;
  #wrong = 0;
  readonly #problems: string[] = [];
  #reason = 'nothing could be tried';

  check(right: boolean, problem: string): void {
    this.#tries++;
    if (right) return;
    this.#wrong++;
    if (this.#problems.length < maxProblems) this.#problems.push(problem);
  }

  /** Says why nothing is tried. */
  pass(reason: string): void {
    this.#reason = reason;
  }

  finding(): Finding {
    if (this.#tries === 0) return { kind: 'not judged', reason: this.#reason };
    if (this.#wrong === 0) return { kind: 'passed', tries: this.#tries };
    const more = this.#wrong - this.#problems.length;
    return { kind: 'failed', problems: more > 0 ? [...this.#problems, `and ${more} more`] : this.#problems };
  }
}

/** Where the requests of this command go that are no plain visit: an application has nothing there. */
export const nowhere = '/.meshgate-attack/nowhere';
export const smuggled = (range: Range): string => `GET /.meshgate-attack/smuggled HTTP/1.1\r\nHost: ${range.authority}\r\n\r\n`;

/** What was sent, in a line. */
export function shown(text: string): string {
  return JSON.stringify(text.length > 120 ? `${text.slice(0, 120)}…` : text);
}

export function told({ variant, status, answers, ended }: Answer): string {
  return `${variant}: ${status === 0 ? 'no answer' : `status ${status}`}${answers > 1 ? `, ${answers} answers` : ''}${ended || variant === 'HTTP/2' ? '' : ', still open'}`;
}

/** Refused with one of the statuses, one answer and the end of the connection. */
export async function refusedH1(judge: Judge, range: Range, bytes: string, statuses: readonly number[], what: string): Promise<void> {
  const got = await range.h1(bytes);
  judge.check(statuses.includes(got.status) && got.answers === 1 && got.ended, `${shown(what)}: ${told(got)}`);
}

/** Each answer has one of the statuses; 0 is a stream or connection that ended without one. */
export function refused(judge: Judge, answers: readonly Answer[], statuses: readonly number[], what: string): void {
  for (const got of answers) {
    judge.check(statuses.includes(got.status) && (got.status !== 0 || got.ended), `${shown(what)}: ${told(got)}`);
  }
}

/** Each answer is what a plain GET / is answered with. */
export function sameDoor(judge: Judge, { door }: Baseline, answers: readonly Answer[], what: string): void {
  for (const got of answers)
    judge.check(got.status === door[got.variant], `${shown(what)}: ${told(got)}, without it ${door[got.variant] ?? 'nothing'}`);
}
