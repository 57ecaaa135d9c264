// What stands between the load and its upstream: nothing, our publisher, nginx's stream module twice, HAProxy. All on the subjects' core.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { freePort } from '../../support/mesh.ts';
import { AskedProcess, coreArgument, SUBJECT_CORE } from '../http/asking.ts';
import type { MeshgatePorts } from './meshgate-process.ts';

export interface StreamSubject {
  readonly name: string;
  readonly tcp: number;
  /** The same target by the name in the ClientHello. */
  readonly tls: number | undefined;
  readonly udp: number | undefined;
  /** Undefined where there is no process. */
  readonly pid: number | undefined;
  stop(): Promise<void>;
}

export interface Meshgate extends StreamSubject {
  /** Collects garbage, so that what is left is what is kept. */
  collect(): Promise<void>;
  startProfile(): Promise<void>;
  stopProfile(file: string): Promise<void>;
}

/** The load and its upstream alone: what the generator can do. */
export function direct(upstreamPort: number): StreamSubject {
  return { name: 'direct', tcp: upstreamPort, tls: undefined, udp: upstreamPort, pid: undefined, stop: () => Promise.resolve() };
}

export async function startMeshgate(upstreamPort: number, name: string): Promise<Meshgate> {
  const server = new AskedProcess('../streams/meshgate-process.ts', SUBJECT_CORE);
  const ports = await server.ask<MeshgatePorts>('start', { upstreamPort, name });
  await listening(ports.tcp);
  await listening(ports.tls);
  return {
    name: 'meshgate',
    ...ports,
    pid: server.pid,
    stop: () => server.stop(),
    collect: () => server.ask('collect'),
    startProfile: () => server.ask('startProfile'),
    stopProfile: (file) => server.ask('stopProfile', file),
  };
}

const streamModule = '/usr/lib/nginx/modules/ngx_stream_module.so';

/** `buffers` as `proxy_buffer_size` wants it; undefined for nginx's default of 16 KB. */
export async function startNginxStream(directory: string, name: string, upstreamPort: number, buffers: string | undefined): Promise<StreamSubject> {
  const [tcp, udp] = [await freePort(), await freePort()];
  const file = join(directory, `${name}.conf`);
  const size = buffers === undefined ? '' : `proxy_buffer_size ${buffers};`;
  await writeFile(
    file,
    `load_module ${streamModule}; daemon off; user root; worker_processes 1; worker_rlimit_nofile 20000; pid ${directory}/${name}.pid; error_log stderr crit;
     events { worker_connections 20000; }
     stream { ${size}
       server { listen 127.0.0.1:${tcp} backlog=4096; proxy_pass 127.0.0.1:${upstreamPort}; }
       server { listen 127.0.0.1:${udp} udp; proxy_pass 127.0.0.1:${upstreamPort}; } }`,
  );
  const child = spawn('taskset', ['-c', coreArgument(SUBJECT_CORE), 'nginx', '-e', 'stderr', '-c', file], { stdio: ['ignore', 'ignore', 'inherit'] });
  await listening(tcp);
  const worker = Number(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim().split(' ')[0]);
  return { name, tcp, tls: undefined, udp, pid: worker, stop: () => ended(child) };
}

export async function startHaproxy(directory: string, upstreamPort: number): Promise<StreamSubject> {
  const tcp = await freePort();
  const file = join(directory, 'haproxy.cfg');
  await writeFile(
    file,
    `global
  maxconn 9500
  nbthread 1
defaults
  mode tcp
  timeout connect 5s
  timeout client 5m
  timeout server 5m
listen bench
  bind 127.0.0.1:${tcp} backlog 4096
  server upstream 127.0.0.1:${upstreamPort}
`,
  );
  const child = spawn('taskset', ['-c', coreArgument(SUBJECT_CORE), 'haproxy', '-q', '-db', '-f', file], { stdio: ['ignore', 'ignore', 'inherit'] });
  await listening(tcp);
  return { name: 'haproxy', tcp, tls: undefined, udp: undefined, pid: child.pid, stop: () => ended(child) };
}

/** Waits until somebody accepts at the port. */
async function listening(port: number): Promise<void> {
  for (const until = Date.now() + 10_000; Date.now() < until;) {
    const socket = connect({ host: '127.0.0.1', port });
    const there = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
    });
    socket.destroy();
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
  const missing = ['nginx', 'haproxy', 'cc', 'taskset'].filter((program) => spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0);
  return existsSync(streamModule) ? missing : [...missing, 'libnginx-mod-stream'];
}
