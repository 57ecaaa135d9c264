// The part of the Docker Engine API that finding services needs: the version, running containers, and events, over its UNIX socket.
import { request, type IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import { integer, isPlainObject, list, object, optional, parse, record, string, type Infer, type Schema } from '#lib/schema.ts';
import { dockerAnswerBytes, dockerCallMs, dockerLineLength, maxContainers } from '../constants.ts';
import { agentError } from '../errors.ts';

/** The label that a container must have to be looked at. */
const enableLabel = 'meshgate.enable=true';

/** As `GET /containers/json` tells it; what is not needed is left out. */
const container = object({
  Id: string({ max: 128 }),
  Names: list(string({ max: 255 }), { default: [] }),
  Labels: record(string({ min: 0, max: 4096 }), { default: {}, max: 1_000 }),
  Ports: list(
    object({
      IP: optional(string({ min: 0, max: 64 })),
      PrivatePort: integer({ max: 65_535 }),
      PublicPort: optional(integer({ max: 65_535 })),
      Type: string({ max: 16 }),
    }),
    { default: [], max: 10_000 },
  ),
  HostConfig: object({ NetworkMode: string({ min: 0, max: 255, default: '' }) }),
  NetworkSettings: object({ Networks: record(object({ IPAddress: string({ min: 0, max: 64, default: '' }) }), { default: {}, max: 100 }) }),
});

export type DockerContainer = Infer<typeof container>;

export class DockerApi {
  readonly #socketPath: string;
  #version: string | undefined;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  /** Running containers with the label. AGENT_DOCKER where the answer is none; rejects with Node's errors where nobody answers. */
  async containers(signal: AbortSignal): Promise<readonly DockerContainer[]> {
    const within = AbortSignal.any([signal, AbortSignal.timeout(dockerCallMs)]);
    const filters = JSON.stringify({ label: [enableLabel], status: ['running'] });
    const response = await this.#get(`${await this.#base(within)}/containers/json?filters=${encodeURIComponent(filters)}`, within);
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of response as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > dockerAnswerBytes) throw agentError('AGENT_DOCKER', 'the list is too long');
      chunks.push(chunk);
    }
    const parsed = parse(list(known(container), { max: maxContainers }), JSON.parse(Buffer.concat(chunks).toString('utf8')));
    if (!parsed.ok) throw agentError('AGENT_DOCKER', parsed.issues.map(({ path, message }) => `${path} ${message}`).join('; '));
    return parsed.value;
  }

  /** Calls `changed` once when it listens, and for each event of a container; resolves when the stream ends. */
  async events(changed: () => void, signal: AbortSignal): Promise<void> {
    const filters = JSON.stringify({ type: ['container'], label: [enableLabel] });
    const opening = AbortSignal.any([signal, AbortSignal.timeout(dockerCallMs)]);
    const response = await this.#get(`${await this.#base(opening)}/events?filters=${encodeURIComponent(filters)}`, signal);
    changed();
    for await (const line of createInterface({ input: response })) {
      if (line.length > dockerLineLength) throw agentError('AGENT_DOCKER', 'an event is too long');
      if (line !== '') changed();
    }
  }

  /** The daemon's own version of the API: it has what older ones have. */
  async #base(signal: AbortSignal): Promise<string> {
    if (this.#version === undefined) {
      const response = await this.#get('/_ping', signal);
      response.resume();
      const version = response.headers['api-version'];
      this.#version = typeof version === 'string' && /^\d{1,2}\.\d{1,3}$/.test(version) ? `/v${version}` : '';
    }
    return this.#version;
  }

  #get(path: string, signal: AbortSignal): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const asked = request({ socketPath: this.#socketPath, path, signal, agent: false, headers: { host: 'docker' } }, (response) => {
        if (response.statusCode === 200) return resolve(response);
        response.resume();
        // A daemon that was exchanged may speak another version.
        this.#version = undefined;
        reject(agentError('AGENT_DOCKER', `${path.split('?')[0] ?? ''} was answered with ${response.statusCode ?? 0}`));
      });
      asked.on('error', reject).end();
    });
  }
}

/** An object that has more fields than we know, which are left out. */
function known<T>(schema: Schema<T>): Schema<T> {
  return { ...schema, read: (input, path, report) => schema.read(pick(schema, input), path, report) };
}

function pick(schema: Schema<unknown>, input: unknown): unknown {
  const { shape } = schema;
  if (shape.kind === 'list' && Array.isArray(input)) return input.map((item) => pick(shape.item, item));
  if (!isPlainObject(input)) return input;
  if (shape.kind === 'record') return Object.fromEntries(Object.entries(input).map(([name, value]) => [name, pick(shape.item, value)]));
  if (shape.kind !== 'object') return input;
  return Object.fromEntries(
    Object.entries(shape.fields).flatMap(([name, field]) => (Object.hasOwn(input, name) ? [[name, pick(field, input[name])]] : [])),
  );
}
