// A mesh of parts whose peers may expose services: server, gateway with a certificate for every name of the cluster, an agent, an app.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import type { Test } from 'tap';
import { Agent, request } from 'undici';
import {
  call,
  cluster,
  type Json,
  makeGroup,
  makeSetupKey,
  type Part,
  type Plane,
  startAgentPart,
  startGatewayPart,
  startPlane,
  until,
} from './parts.ts';

const main = resolve(import.meta.dirname, '../../src/cli/main.ts');

export interface ExposeMesh {
  readonly plane: Plane;
  readonly gateway: Part & { readonly publicPort: number };
  readonly group: string;
  readonly setupKey: string;
  readonly app: { readonly port: number; readonly requests: string[] };
  startAgent(name: string, config?: Json): Promise<Part>;
  /** The status of a GET at a public name, and its text. */
  get(domain: string): Promise<{ readonly status: number; readonly text: string }>;
  exposed(): Promise<readonly Json[]>;
}

/** `settings` are those of the account, in the API's words. */
export async function startExposeMesh(t: Test, settings: Json = {}, serverEnv: NodeJS.ProcessEnv = {}): Promise<ExposeMesh> {
  const plane = await startPlane(t, { env: serverEnv });
  const name = `*.${cluster}`;
  const { certPem, keyPem } = await plane.ca.issue([name]);
  await mkdir(join(plane.folder, 'certs'), { recursive: true });
  await writeFile(join(plane.folder, 'certs', 'all.key'), keyPem, { mode: 0o600 });
  await writeFile(join(plane.folder, 'certs', 'all.crt'), certPem);
  const gateway = await startGatewayPart(t, plane);
  await until('the gateway is known', async () => ((await plane.api.call('GET', '/api/reverse-proxies/clusters')) as readonly Json[]).length > 0);
  t.teardown(() => {
    if (!t.passing()) t.comment(`the gateway said at last:\n${gateway.log().slice(-2_000)}`);
  });
  const group = await makeGroup(plane, 'developers');
  const [account] = (await plane.api.call('GET', '/api/accounts')) as readonly Json[];
  const permitted = { peer_expose_enabled: true, peer_expose_groups: [group], ...settings };
  await call(plane, 'PUT', `/api/accounts/${String(account?.['id'])}`, { settings: permitted });
  const setupKey = await makeSetupKey(plane, [group]);
  const dispatcher = new Agent({
    connect: { ca: plane.caPem, lookup: (_host, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }]) },
  });
  t.teardown(() => dispatcher.close());
  return {
    plane,
    gateway,
    group,
    setupKey,
    app: await startApp(t, 'hello from the app'),
    startAgent: (agent, config = {}) => startAgentPart(t, plane, agent, setupKey, config),
    get: async (domain) => {
      const response = await request(`https://${domain}:${gateway.publicPort}/`, { dispatcher, headers: { accept: 'application/json' } });
      return { status: response.statusCode, text: await response.body.text() };
    },
    exposed: async () => {
      const services = (await plane.api.call('GET', '/api/reverse-proxies/services')) as readonly Json[];
      return services.filter(({ exposure }) => exposure !== undefined);
    },
  };
}

export async function startApp(t: Test, text: string, host = '127.0.0.1'): Promise<{ readonly port: number; readonly requests: string[] }> {
  const requests: string[] = [];
  const server = createServer((incoming, response) => {
    requests.push(`${incoming.method} ${incoming.url}`);
    response.end(text);
  });
  server.listen(0, host);
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, requests };
}

export interface Cli {
  readonly out: readonly string[];
  readonly err: readonly string[];
  /** Resolves with the line when there is one of standard output that fits. */
  line(fits?: RegExp): Promise<string>;
  /** Sends a signal and resolves with the exit code. */
  end(signal: NodeJS.Signals): Promise<number | null>;
  readonly exited: Promise<number | null>;
}

/** Runs `meshgate …` in a process of its own. */
export function runCommand(t: Test, args: readonly string[], env: NodeJS.ProcessEnv = {}): Cli {
  const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
  const [out, err]: [string[], string[]] = [[], []];
  createInterface({ input: child.stdout }).on('line', (line) => out.push(line));
  createInterface({ input: child.stderr }).on('line', (line) => err.push(line));
  const exited = once(child, 'close').then(([code]) => code as number | null);
  t.teardown(async () => {
    child.kill('SIGKILL');
    await exited;
  });
  return {
    out,
    err,
    exited,
    line: async (fits = /./) => {
      let over = false;
      void exited.then(() => (over = true));
      await until(
        `a line that fits ${String(fits)}`,
        () => {
          if (out.some((line) => fits.test(line))) return true;
          if (over) throw new Error(`meshgate ${args.join(' ')} ended: ${out.join('\n')}\n${err.join('\n')}`);
          return false;
        },
        30_000,
      );
      return out.find((line) => fits.test(line)) ?? '';
    },
    end: (signal) => {
      child.kill(signal);
      return exited;
    },
  };
}
