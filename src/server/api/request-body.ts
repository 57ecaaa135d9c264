// The body of a request: at most so many bytes, within a deadline, JSON in UTF-8, or a refusal.
import type { IncomingMessage } from 'node:http';
import { concatBytes } from '#lib/bytes.ts';
import type { Clock } from '#lib/clock.ts';
import { bodyDeadlineMs } from './constants.ts';
import { apiError } from './errors.ts';

/** Reads and parses; undefined where there is no body. Duplicate keys count once, the last one, as there is one parser and one reading. */
export async function readJson(request: IncomingMessage, maxBytes: number, clock: Clock): Promise<unknown> {
  if (request.headers['transfer-encoding'] === undefined && Number(request.headers['content-length'] ?? 0) === 0) return undefined;
  if (!isJson(request.headers['content-type'])) throw apiError('API_BODY_TYPE');
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw apiError('API_BODY_TOO_LARGE');
  const bytes = await readBytes(request, maxBytes, clock);
  if (bytes.length === 0) return undefined;
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    // The cause quotes the body, which may hold a secret: only its kind goes on.
    throw apiError('API_BODY_INVALID', error instanceof SyntaxError ? 'syntax' : 'encoding');
  }
}

function isJson(type: string | undefined): boolean {
  return /^application\/json\s*(?:;\s*charset=(?:"utf-8"|utf-8)\s*)?$/i.test(type ?? '');
}

function readBytes(request: IncomingMessage, maxBytes: number, clock: Clock): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const chunks: Uint8Array[] = [];
    let size = 0;
    const finish = (outcome: () => void): void => {
      deadline.cancel();
      request.off('data', onData).off('end', onEnd).off('error', onError).off('close', onClose);
      request.pause();
      outcome();
    };
    const onData = (chunk: Uint8Array): void => {
      size += chunk.length;
      if (size > maxBytes) finish(() => reject(apiError('API_BODY_TOO_LARGE')));
      else chunks.push(chunk);
    };
    const onEnd = (): void => finish(() => resolve(concatBytes(...chunks)));
    const onError = (error: unknown): void => finish(() => reject(apiError('API_BODY_INVALID', 'the connection broke', error)));
    const onClose = (): void => finish(() => reject(apiError('API_BODY_INVALID', 'the connection closed')));
    const deadline = clock.after(bodyDeadlineMs, () => finish(() => reject(apiError('API_BODY_TIMEOUT'))));
    request.on('data', onData).on('end', onEnd).on('error', onError).on('close', onClose);
  });
}
