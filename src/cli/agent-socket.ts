// Questions to an agent of this machine, over the status socket that only its own user can open.
import { request, type IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import { describeError, errorCode } from '#lib/errors.ts';
import { agentTimeoutMs, maxAnswerBytes } from './constants.ts';
import { cliError } from './errors.ts';
import { field } from './output.ts';
import { fetchStatus, findSockets } from './status.ts';

/** The socket of the one agent that runs from the directory; undefined where none does. CLI_AMBIGUOUS where several do. */
export async function findAgent(stateDir: string, stop: AbortSignal): Promise<string | undefined> {
  const found: string[] = [];
  for (const socket of await findSockets(stateDir)) {
    const status = await fetchStatus(socket, AbortSignal.any([stop, AbortSignal.timeout(agentTimeoutMs)])).catch(() => undefined);
    if (field(status, 'process') === 'agent') found.push(socket);
  }
  if (found.length > 1) throw cliError('CLI_AMBIGUOUS', `${found.length} agents run below ${stateDir}; name the directory of one with --state-dir`);
  return found[0];
}

/** One call and its JSON. CLI_AGENT_REFUSED with the agent's words. */
export async function callAgent(socket: string, method: 'GET' | 'POST', path: string, body?: unknown): Promise<unknown> {
  const response = await send(socket, method, path, body, AbortSignal.timeout(agentTimeoutMs));
  return JSON.parse(await readAll(response));
}

/**
 * Streams lines of JSON until the agent ends the answer (`ended`) or goes away (`cut`), or the signal aborts. CLI_AGENT_REFUSED where it takes
 * the request for none.
 */
export async function streamAgent(
  socket: string,
  path: string,
  body: unknown,
  told: (event: unknown) => void,
  signal: AbortSignal,
): Promise<'ended' | 'cut'> {
  const response = await send(socket, 'POST', path, body, signal);
  try {
    for await (const line of createInterface({ input: response })) told(JSON.parse(line));
  } catch (error) {
    if (!signal.aborted && errorCode(error) !== 'ECONNRESET') throw error;
  }
  return response.complete ? 'ended' : 'cut';
}

async function send(socketPath: string, method: string, path: string, body: unknown, signal: AbortSignal): Promise<IncomingMessage> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const asked = request({ socketPath, method, path, signal, agent: false, headers: { 'content-type': 'application/json' } }, resolve);
    asked.on('error', (error) => reject(cliError('CLI_AGENT_AWAY', describeError(error), error)));
    asked.end(body === undefined ? undefined : JSON.stringify(body));
  });
  response.on('error', () => undefined); // seen by whoever reads it
  if (response.statusCode === 200) return response;
  throw cliError('CLI_AGENT_REFUSED', messageOf(await readAll(response)));
}

async function readAll(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxAnswerBytes) throw cliError('CLI_AGENT_REFUSED', 'the answer is too large');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function messageOf(text: string): string {
  try {
    return field(JSON.parse(text), 'message') || 'no message';
  } catch {
    return 'no message';
  }
}
