// How the command line asks a running agent to publish something: requests on its status socket, which only the agent's own user can open.
// What becomes of a service is streamed, one JSON object a line, and the end of that connection is the end of the service, unless it was
// asked to stay.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { MeshgateError } from '#lib/errors.ts';
import { boolean, object, integer, optional, parseOrThrow, string, type Schema } from '#lib/schema.ts';
import { issuesOf, formatIssue } from '#lib/schema-errors.ts';
import { openToText } from '#model/exposure.ts';
import { maxRequestBytes } from './constants.ts';
import { agentError } from './errors.ts';
import type { ExposureState } from './exposure.ts';
import type { Exposures } from './exposures.ts';
import { wishSchema } from './wish.ts';

const envelope = object({
  /** Goes on when the connection ends. */
  background: boolean({ default: false }),
  /** What the same terminal had before the agent was started anew. */
  resume: optional(object({ id: string({ max: 255 }), port: integer({ max: 65_535 }) })),
  wish: anything(),
});
const stopBody = object({ name: string({ max: 255 }) });

/** What the command line is told: a state, flat and in words. */
export type ExposeEvent =
  | { readonly event: 'asking' | 'ended'; readonly reason: string }
  | {
      readonly event: 'open';
      readonly url: string;
      readonly name: string;
      readonly open_to: string;
      readonly expires_at: string | null;
      /** As gateways tell it, and why not `active`. */
      readonly state: string;
      readonly reason: string;
      /** It had lapsed, and this is a new one. */
      readonly again: boolean;
      /** Why it could not be renewed; empty while it is. */
      readonly away: string;
      readonly id: string;
      readonly port: number;
    };

export function eventOf(state: ExposureState): ExposeEvent {
  if (state.kind !== 'open') return { event: state.kind, reason: state.reason };
  const { service, port, again, away } = state;
  return {
    event: 'open',
    url: service.url,
    name: service.domain,
    open_to: openToText(service.openTo),
    expires_at: service.endsAt === undefined ? null : new Date(service.endsAt).toISOString(),
    state: service.state,
    reason: service.reason,
    again,
    away,
    id: service.id,
    port,
  };
}

/** For `serveStatus`: takes what is below /expose. */
export function exposeHandler(exposures: Exposures): (request: IncomingMessage, response: ServerResponse) => boolean {
  return (request, response) => {
    const { method, url = '' } = request;
    if (url !== '/expose' && url !== '/expose/stop') return false;
    const work =
      url === '/expose/stop' && method === 'POST'
        ? stop(exposures, request, response)
        : method === 'POST'
          ? publish(exposures, request, response)
          : list(exposures, response);
    work.catch((error: unknown) => refuse(response, error));
    return true;
  };
}

async function list(exposures: Exposures, response: ServerResponse): Promise<void> {
  answer(response, 200, exposures.rows());
}

async function stop(exposures: Exposures, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { name } = parseOrThrow(stopBody, await readBody(request));
  const found = exposures.find(name);
  await Promise.all(found.map((exposure) => exposures.stop(exposure)));
  answer(response, 200, { stopped: found.length });
}

async function publish(exposures: Exposures, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { wish: raw, background, resume } = parseOrThrow(envelope, await readBody(request));
  const wish = parseOrThrow(wishSchema, raw);
  const exposure = exposures.open({ ...wish, patient: false }, background ? 'background' : 'terminal', raw, resume);
  response.writeHead(200, { 'content-type': 'application/x-ndjson' });
  const tell = (state: ExposureState): void => {
    response.write(`${JSON.stringify(eventOf(state))}\n`);
    if (state.kind === 'ended' || (background && state.kind === 'open')) response.end();
  };
  const unsubscribe = exposure.onState(tell);
  response.once('close', () => {
    unsubscribe();
    // Somebody who goes before it was published does not want it; a terminal never does.
    if (!background || exposure.state.kind === 'asking') void exposure.stop();
  });
  tell(exposure.state);
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxRequestBytes) throw agentError('AGENT_REQUEST_INVALID', 'too long');
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch (error) {
    throw agentError('AGENT_REQUEST_INVALID', 'not JSON', error);
  }
}

function refuse(response: ServerResponse, error: unknown): void {
  if (response.headersSent) return void response.destroy();
  const issues = issuesOf(error).map(formatIssue).join('; ');
  const ours = error instanceof MeshgateError ? error : undefined;
  answer(response, issues === '' ? (ours?.row.status ?? 500) : 400, { message: issues === '' ? (ours?.message ?? 'failed') : issues });
}

function answer(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}

/** Whatever it is: it is looked at by itself. */
function anything(): Schema<unknown> {
  return { shape: { kind: 'string' }, info: {}, optional: true, read: (input) => input };
}
