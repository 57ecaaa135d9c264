// The reverse proxies that are measured: each terminates TLS 1.3 with the same certificate on the subjects' core, before one upstream.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { freePort } from '../../support/mesh.ts';
import { AskedProcess, coreArgument, LOAD_CORE, SUBJECT_CORE } from './asking.ts';

export interface SubjectSetup {
  readonly host: string;
  readonly certPem: string;
  readonly keyPem: string;
  readonly upstreamPort: number;
  readonly endlessPort: number;
  readonly sessionId: string;
}

export interface Subject {
  readonly name: string;
  readonly port: number;
  readonly pid: number;
  stop(): Promise<void>;
}

export interface Meshgate extends Subject {
  /** Collects garbage, so that what is left is what is kept. */
  collect(): Promise<void>;
  startProfile(): Promise<void>;
  stopProfile(file: string): Promise<void>;
}

const bulkBytes = 10_000_000;

/** nginx with static files of 1 KB and 10 MB, on the load's core. */
export async function startUpstream(directory: string): Promise<{ readonly port: number; stop(): Promise<void> }> {
  const root = join(directory, 'www');
  await mkdir(root);
  await writeFile(join(root, '1k'), randomBytes(1_024));
  await writeFile(join(root, '10m'), randomBytes(bulkBytes));
  const port = await freePort();
  const server = `server { listen 127.0.0.1:${port} backlog=4096; root ${root}; }`;
  const { stop } = await startNginx(directory, 'upstream', LOAD_CORE, `sendfile on; ${server}`, port);
  return { port, stop };
}

export async function startNginxProxy(directory: string, setup: SubjectSetup): Promise<Subject> {
  const port = await freePort();
  const { certFile, keyFile } = await certificateFiles(directory, setup);
  const http = `upstream app { server 127.0.0.1:${setup.upstreamPort}; keepalive 64; keepalive_requests 1000000; }
    server { listen 127.0.0.1:${port} ssl backlog=4096; ssl_protocols TLSv1.3; ssl_certificate ${certFile}; ssl_certificate_key ${keyFile};
      location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; } }`;
  const { child, stop } = await startNginx(directory, 'nginx', SUBJECT_CORE, http, port);
  const worker = Number(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim().split(' ')[0]);
  return { name: 'nginx', port, pid: worker, stop };
}

export async function startCaddy(directory: string, setup: SubjectSetup): Promise<Subject> {
  const port = await freePort();
  const { certFile, keyFile } = await certificateFiles(directory, setup);
  const file = join(directory, 'Caddyfile');
  await writeFile(
    file,
    `{
  admin off
  auto_https off
  servers {
    protocols h1 h2
  }
}
https://${setup.host}:${port} {
  bind 127.0.0.1
  tls ${certFile} ${keyFile}
  reverse_proxy 127.0.0.1:${setup.upstreamPort}
}
`,
  );
  const child = spawn('taskset', ['-c', coreArgument(SUBJECT_CORE), 'caddy', 'run', '--adapter', 'caddyfile', '--config', file], {
    env: { ...process.env, HOME: directory, XDG_DATA_HOME: directory, XDG_CONFIG_HOME: directory },
    stdio: 'ignore',
  });
  await listening(port);
  return { name: 'caddy', port, pid: child.pid ?? 0, stop: () => ended(child) };
}

export async function startNodePeer(kind: 'http-proxy' | 'undici', setup: SubjectSetup): Promise<Subject> {
  const server = new AskedProcess('node-peers-process.ts', SUBJECT_CORE);
  const port = await server.ask<number>('start', { ...setup, kind });
  return { name: kind, port, pid: server.pid, stop: () => server.stop() };
}

export async function startMeshgate(setup: SubjectSetup): Promise<Meshgate> {
  const server = new AskedProcess('meshgate-process.ts', SUBJECT_CORE);
  const port = await server.ask<number>('start', setup);
  return {
    name: 'meshgate',
    port,
    pid: server.pid,
    stop: () => server.stop(),
    collect: () => server.ask('collect'),
    startProfile: () => server.ask('startProfile'),
    stopProfile: (file) => server.ask('stopProfile', file),
  };
}

async function certificateFiles(
  directory: string,
  { certPem, keyPem }: SubjectSetup,
): Promise<{ readonly certFile: string; readonly keyFile: string }> {
  const certFile = join(directory, 'cert.pem');
  const keyFile = join(directory, 'key.pem');
  if (!existsSync(certFile)) {
    await writeFile(certFile, certPem);
    await writeFile(keyFile, keyPem, { mode: 0o600 });
  }
  return { certFile, keyFile };
}

async function startNginx(
  directory: string,
  name: string,
  core: number,
  http: string,
  port: number,
): Promise<{ readonly child: ChildProcess; stop(): Promise<void> }> {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${directory}/${name}-${kind};`).join(' ');
  const file = join(directory, `${name}.conf`);
  await writeFile(
    file,
    `daemon off; user root; worker_processes 1; worker_rlimit_nofile 20000; pid ${directory}/${name}.pid; error_log stderr crit;
     events { worker_connections 8192; } http { access_log off; keepalive_requests 1000000; ${temporary} ${http} }`,
  );
  const child = spawn('taskset', ['-c', coreArgument(core), 'nginx', '-e', 'stderr', '-c', file], { stdio: ['ignore', 'inherit', 'inherit'] });
  await listening(port);
  return { child, stop: () => ended(child) };
}

/** Waits until somebody accepts at the port. */
async function listening(port: number): Promise<void> {
  for (const until = Date.now() + 10_000; Date.now() < until;) {
    const there = await new Promise<boolean>((resolve) => {
      const socket = connect({ host: '127.0.0.1', port });
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
      socket.once('close', () => undefined);
      socket.setTimeout(200, () => socket.destroy());
      socket.once('connect', () => socket.destroy());
    });
    if (there) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`nobody listens at ${port}`);
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve();
    child.once('exit', () => resolve());
    child.kill('SIGTERM');
  });
}

export function missingPrograms(): readonly string[] {
  return ['nginx', 'caddy', 'wrk', 'taskset', 'unshare'].filter((program) => spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0);
}
