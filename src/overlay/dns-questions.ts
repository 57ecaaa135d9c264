// Asking name servers over UDP: repeated, each server in its turn, until one gives an answer that means something.
import type { Clock } from '#lib/clock.ts';
import { formatIp } from '#lib/ip.ts';
import type { NameServer } from '#model/dns.ts';
import { decodeDns, DNS_RCODE, type DnsMessage, type DnsQuestion, encodeDnsQuery } from '#wire/dns.ts';
import { MAX_OPEN_QUESTIONS, QUESTION_ATTEMPTS, QUESTION_RETRY_MS } from './constants.ts';
import { overlayError } from './errors.ts';

/** A UDP socket towards a server: datagrams that come from elsewhere are not received. */
export interface QuestionSocket {
  send(bytes: Uint8Array): void;
  close(): void;
}

export interface QuestionsDeps {
  readonly clock: Clock;
  /** Fills with cryptographically strong bytes: the number of a question must not be guessed. */
  readonly random: (target: Uint8Array) => void;
  /** Opens a socket at a port of its own. The bytes that `received` gets are valid only during the call. */
  readonly open: (server: NameServer, received: (bytes: Uint8Array) => void) => QuestionSocket;
}

export class Questions {
  readonly #deps: QuestionsDeps;
  #open = 0;

  constructor(deps: QuestionsDeps) {
    this.#deps = deps;
  }

  /**
   * The answer of the first server that has one: addresses, or that there are none. Rejects with EAI_AGAIN where no server
   * does, with ENOBUFS where too many questions are open, with ABORT_ERR.
   */
  async ask(servers: readonly NameServer[], question: DnsQuestion, signal: AbortSignal): Promise<DnsMessage> {
    if (this.#open >= MAX_OPEN_QUESTIONS) throw overlayError('ENOBUFS', 'too many names are being resolved');
    this.#open++;
    let last = 'no server';
    try {
      for (let attempt = 0; attempt < QUESTION_ATTEMPTS * servers.length; attempt++) {
        const server = servers[attempt % servers.length];
        if (server === undefined) break;
        if (signal.aborted) throw overlayError('ABORT_ERR', `resolving ${question.name}`, signal.reason);
        const answer = await this.#askOnce(server, question, signal);
        if (answer?.rcode === DNS_RCODE.ok || answer?.rcode === DNS_RCODE.unknownName) return answer;
        last = `${formatIp(server.ip)} ${answer === undefined ? 'did not answer' : `answered with code ${answer.rcode}`}`;
      }
    } finally {
      this.#open--;
    }
    if (signal.aborted) throw overlayError('ABORT_ERR', `resolving ${question.name}`, signal.reason);
    throw overlayError('EAI_AGAIN', `${question.name}: ${last}`);
  }

  /** Undefined where nothing came in time. */
  #askOnce(server: NameServer, question: DnsQuestion, signal: AbortSignal): Promise<DnsMessage | undefined> {
    return new Promise((resolve, reject) => {
      const number = new Uint8Array(2);
      this.#deps.random(number);
      const id = ((number[0] ?? 0) << 8) | (number[1] ?? 0);
      const query = encodeDnsQuery(id, question);
      if (query === undefined) return reject(overlayError('EHOSTUNREACH', `${question.name} is no name`));
      const finish = (answer: DnsMessage | undefined): void => {
        timer.cancel();
        signal.removeEventListener('abort', abort);
        socket.close();
        resolve(answer);
      };
      const abort = (): void => finish(undefined);
      const socket = this.#deps.open(server, (bytes) => {
        const answer = decodeDns(bytes);
        const fits =
          answer?.response === true && answer.id === id && answer.question?.name === question.name && answer.question.type === question.type;
        if (fits) finish(answer);
      });
      const timer = this.#deps.clock.after(QUESTION_RETRY_MS, () => finish(undefined));
      signal.addEventListener('abort', abort, { once: true });
      socket.send(query);
    });
  }
}
