// One question to a target, on a connection of its own over the same dial as requests: how it is, asked by health checks and by diagnoses.
// Redirects are answers like others: never followed (attack row X-2).
import type { ResponseHead } from '#wire/http1-head.ts';
import type { RouteTarget } from '../routes.ts';
import type { AnswerReceiver, UpstreamLink } from '../upstream-link.ts';
import { unownedUpstream } from '../upstream-target.ts';
import type { Upstreams } from '../upstreams.ts';

/** The target took the question and gave no answer, or none that is one. */
export class ProbeFailure extends Error {
  readonly failure: 'closed' | 'bad_answer';

  constructor(failure: 'closed' | 'bad_answer', detail: string) {
    super(failure === 'closed' ? 'closed without an answer' : `bad answer, ${detail}`);
    this.failure = failure;
  }
}

/** The status of a GET. Rejects as `Upstreams.connect` does, with the signal's reason, or with a ProbeFailure. */
export async function probeTarget(
  upstreams: Pick<Upstreams, 'connect'>,
  target: Pick<RouteTarget, 'upstream'>,
  path: string,
  host: string,
  signal: AbortSignal,
): Promise<number> {
  return await ask(await upstreams.connect(unownedUpstream(target.upstream), 'request', signal, true), path, host, signal);
}

function ask(connection: UpstreamLink, path: string, host: string, signal: AbortSignal): Promise<number> {
  return new Promise((resolve, reject) => {
    const aborted = (): void => done(() => reject(signal.reason as Error));
    const done = (tell: () => void): void => {
      signal.removeEventListener('abort', aborted);
      connection.destroy();
      tell();
    };
    const receiver: AnswerReceiver = {
      interim: () => undefined,
      answerHead: (head: ResponseHead) => done(() => resolve(head.status)),
      answerData: () => true,
      answerFlush: () => undefined,
      answerEnd: () => undefined,
      switched: (_head, stream) => {
        stream.destroy();
        done(() => reject(new ProbeFailure('bad_answer', 'it switches protocols')));
      },
      answerFailed: (failure, detail) => done(() => reject(new ProbeFailure(failure === 'bad_answer' ? failure : 'closed', detail))),
      requestDrain: () => undefined,
    };
    if (signal.aborted) return aborted();
    signal.addEventListener('abort', aborted, { once: true });
    connection.retire();
    connection.send(
      `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nUser-Agent: meshgate-health-check\r\nConnection: close\r\n\r\n`,
      'GET',
      'none',
      false,
      receiver,
    );
  });
}
