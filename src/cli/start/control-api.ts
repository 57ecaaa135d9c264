// The few calls of the REST API that set the first mesh up. A person does the same with `meshgate setup`, `meshgate service create` …
import { Agent, request } from 'undici';
import { resolveHost } from '#lib/resolve.ts';
import { startError } from './errors.ts';

const callTimeoutMs = 10_000;

export interface ControlApi {
  /** Calls the API and returns the JSON of its answer. START_API_REFUSED with the API's own words where it says no. */
  call(method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown): Promise<unknown>;
  close(): Promise<void>;
}

/** `token` undefined calls without one, for the set-up itself. */
export function controlApi(url: string, ca: string, token: string | undefined): ControlApi {
  const agent = new Agent({
    connect: {
      ca,
      lookup: (host, _options, done) => {
        resolveHost(host).then(
          (found) => done(null, [{ address: found[0] ?? '', family: found[0]?.includes(':') === true ? 6 : 4 }]),
          (error: unknown) => done(error as NodeJS.ErrnoException, []),
        );
      },
    },
  });
  return {
    async call(method, path, body) {
      const response = await request(`${url}${path}`, {
        method,
        dispatcher: agent,
        headers: {
          accept: 'application/json',
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...(token === undefined ? {} : { authorization: `Token ${token}` }),
        },
        signal: AbortSignal.timeout(callTimeoutMs),
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const text = await response.body.text();
      if (response.statusCode >= 300) throw startError('START_API_REFUSED', `${method} ${path}: ${response.statusCode} ${text.slice(0, 300)}`);
      return text === '' ? undefined : JSON.parse(text);
    },
    close: () => agent.close(),
  };
}
