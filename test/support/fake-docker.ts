// A Docker Engine API as documented (v1.47), over a UNIX socket: _ping, containers/json with filters, events as a stream of JSON lines.
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { createServer, type Server, type ServerResponse } from 'node:http';

export interface FakeContainer {
  readonly id: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly ports?: readonly { readonly IP?: string; readonly PrivatePort: number; readonly PublicPort?: number; readonly Type: string }[];
  readonly network?: string;
  readonly address?: string;
}

export class FakeDocker {
  readonly path: string;
  /** Paths that were asked for. */
  readonly asked: string[] = [];
  readonly #containers = new Map<string, FakeContainer>();
  readonly #listeners = new Set<ServerResponse>();
  #server: Server | undefined;

  constructor(path: string) {
    this.path = path;
  }

  async start(): Promise<void> {
    await rm(this.path, { force: true });
    this.#server = createServer((request, response) => {
      const url = new URL(request.url ?? '/', 'http://docker');
      this.asked.push(request.url ?? '');
      const filters = JSON.parse(url.searchParams.get('filters') ?? '{}') as Record<string, string[]>;
      response.setHeader('api-version', '1.47');
      if (url.pathname === '/_ping') return void response.end('OK');
      response.setHeader('content-type', 'application/json');
      if (url.pathname === '/v1.47/containers/json') return void response.end(JSON.stringify(this.#list(filters)));
      if (url.pathname === '/v1.47/events') {
        response.writeHead(200);
        response.flushHeaders();
        this.#listeners.add(response);
        return void response.once('close', () => this.#listeners.delete(response));
      }
      response.writeHead(404).end(JSON.stringify({ message: 'page not found' }));
    });
    this.#server.listen(this.path);
    await once(this.#server, 'listening');
  }

  async stop(): Promise<void> {
    this.#server?.closeAllConnections();
    await new Promise<void>((done) => (this.#server === undefined ? done() : void this.#server.close(() => done())));
  }

  run(container: FakeContainer): void {
    this.#containers.set(container.id, container);
    this.#tell('start', container);
  }

  kill(id: string): void {
    const container = this.#containers.get(id);
    this.#containers.delete(id);
    if (container !== undefined) for (const action of ['kill', 'die', 'stop', 'destroy']) this.#tell(action, container);
  }

  #tell(action: string, { id, name, labels }: FakeContainer): void {
    const event = { Type: 'container', Action: action, Actor: { ID: id, Attributes: { ...labels, name } }, scope: 'local', time: 1, timeNano: 1 };
    for (const response of this.#listeners) response.write(`${JSON.stringify(event)}\n`);
  }

  #list(filters: Record<string, string[]>): unknown {
    const wanted = filters['label'] ?? [];
    return [...this.#containers.values()]
      .filter(({ labels }) => wanted.every((text) => labels[text.split('=')[0] ?? ''] === text.split('=')[1]))
      .map(({ id, name, labels, ports = [], network = 'bridge', address = '' }) => ({
        Id: id,
        Names: [`/${name}`],
        Image: 'example',
        ImageID: 'sha256:0',
        Command: 'run',
        Created: 1,
        Ports: ports,
        Labels: labels,
        State: 'running',
        Status: 'Up 1 second',
        HostConfig: { NetworkMode: network },
        NetworkSettings: {
          Networks: { [network]: { IPAMConfig: null, NetworkID: 'n', EndpointID: 'e', Gateway: '', IPAddress: address, IPPrefixLen: 16 } },
        },
        Mounts: [],
      }));
  }
}
