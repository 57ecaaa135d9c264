// The whole chain (TLS, session check, overlay, agent, upstream) beside nginx's TLS reverse proxy straight to the same upstream.
// Subjects share one core, load and upstream the other. Needs root (a private /etc/hosts for the load generator), nginx, wrk and curl.
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { ScriptedBrowser, signIn } from '../support/browser.ts';
import { freePort, startMesh, type Mesh } from '../support/mesh.ts';
import { median, pair, type Pair } from './report.ts';

const connections = 32;
const seconds = 5;
const bulkBytes = 64 * 1024 * 1024;
const processes = ['server', 'gateway', 'agent'] as const;

export async function benchChain(rounds: number): Promise<readonly Pair[]> {
  for (const program of ['nginx', 'wrk', 'curl', 'taskset', 'unshare']) {
    if (spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0) throw new Error(`the benchmark needs ${program}`);
  }
  if (process.getuid?.() !== 0) throw new Error('the benchmark needs root: it gives the load generator a private /etc/hosts');
  const directory = await mkdtemp(join(tmpdir(), 'mg-bench-'));
  const upstreamPort = await freePort();
  const nginxPort = await freePort();
  const mesh = await startMesh({ upstream: `http://127.0.0.1:${upstreamPort}` });
  const nginx = await startNginx(directory, upstreamPort, nginxPort, mesh);
  try {
    const idle = await Promise.all(processes.map(async (name) => ({ name, megabytes: residentMegabytes(await mesh.pidOf(name)) })));
    const pids = new Map<string, number>();
    for (const name of processes) {
      const pid = await mesh.pidOf(name);
      pin(pid, 0);
      pids.set(name, pid);
    }
    const cookie = await sessionCookie(mesh);
    const load = await loadGenerator(directory, cookie);
    const nginxUrl = `https://app.localhost:${nginxPort}`;
    const nginxPids = new Map([['nginx', workerOf(nginx.proxyPid)]]);
    const ours: Round[] = [];
    const theirs: Round[] = [];
    await load(mesh.url);
    for (let round = 0; round < rounds; round++) {
      ours.push(await measure(mesh.url, pids, load, () => download(mesh, mesh.url, cookie)));
      theirs.push(await measure(nginxUrl, nginxPids, load, () => download(mesh, nginxUrl, cookie)));
    }
    const of = (rows: readonly Round[], key: Figure): number => median(rows.map((row) => row[key]));
    const cpuOf = (rows: readonly Round[], key: 'requestCpu' | 'bulkCpu', name: string): number => median(rows.map((row) => row[key].get(name) ?? 0));
    const cpuRow = (subject: string, metric: string, unit: string, key: 'requestCpu' | 'bulkCpu'): Pair =>
      pair('chain', subject, {
        metric,
        unit,
        value: cpuOf(ours, key, subject),
        peer: { name: 'nginx', value: cpuOf(theirs, key, 'nginx') },
        lowerIsBetter: true,
      });
    const row = (metric: string, unit: string, key: Figure, lowerIsBetter: boolean): Pair =>
      pair('chain', 'meshgate', { metric, unit, value: of(ours, key), peer: { name: 'nginx', value: of(theirs, key) }, lowerIsBetter });
    return [
      row('requests, 1 KB, keep-alive', 'req/s', 'rate', false),
      row('latency p50', 'ms', 'p50', true),
      row('latency p99', 'ms', 'p99', true),
      row('bulk download, one stream', 'MB/s', 'bulk', false),
      ...processes.map((name) => cpuRow(name, 'CPU per request', 'µs', 'requestCpu')),
      ...processes.map((name) => cpuRow(name, 'CPU per bulk gigabyte', 's', 'bulkCpu')),
      ...idle.map(({ name, megabytes }) => pair('chain', name, { metric: 'idle memory', unit: 'MB RSS', value: megabytes })),
      pair('chain', 'meshgate', { metric: 'start to first page', unit: 's', value: mesh.readyMs / 1000 }),
    ];
  } finally {
    nginx.stop();
    await mesh.stop();
    await rm(directory, { recursive: true, force: true });
  }
}

interface Load {
  readonly requests: number;
  readonly rate: number;
  readonly p50: number;
  readonly p99: number;
}
/** CPU time by process, which other work on the machine changes less than it changes the rates. */
type Cpu = ReadonlyMap<string, number>;
type Round = Omit<Load, 'requests'> & { readonly bulk: number; readonly requestCpu: Cpu; readonly bulkCpu: Cpu };
type Figure = 'rate' | 'p50' | 'p99' | 'bulk';

/** One load and one download, with the CPU time that each took from the processes. */
async function measure(
  url: string,
  pids: ReadonlyMap<string, number>,
  load: (url: string) => Promise<Load>,
  fetchBulk: () => number,
): Promise<Round> {
  const start = cpuOfAll(pids);
  const { requests, ...figures } = await load(url);
  const between = cpuOfAll(pids);
  const bulk = fetchBulk();
  const end = cpuOfAll(pids);
  const spent = (from: Cpu, to: Cpu, per: number): Cpu => new Map([...to].map(([name, seconds]) => [name, (seconds - (from.get(name) ?? 0)) / per]));
  return { ...figures, bulk, requestCpu: spent(start, between, requests / 1e6), bulkCpu: spent(between, end, bulkBytes / 1e9) };
}

function cpuOfAll(pids: ReadonlyMap<string, number>): Cpu {
  return new Map([...pids].map(([name, pid]) => [name, cpuSeconds(pid)]));
}

/** User and system time of a process so far, in steps of the kernel's tick of 10 ms. */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function workerOf(nginx: number): number {
  return Number(readFileSync(`/proc/${nginx}/task/${nginx}/children`, 'utf8').trim().split(' ')[0]);
}

/** The static upstream on the load's core, and the TLS reverse proxy on the subjects' core. */
async function startNginx(
  directory: string,
  upstreamPort: number,
  nginxPort: number,
  mesh: Mesh,
): Promise<{ readonly proxyPid: number; stop(): void }> {
  const root = join(directory, 'www');
  await mkdir(root);
  await writeFile(join(root, '1k'), randomBytes(1024));
  await writeFile(join(root, 'bulk'), randomBytes(bulkBytes));
  const common = (name: string): string =>
    `daemon off; user root; worker_processes 1; pid ${directory}/${name}.pid; error_log stderr crit; events { worker_connections 4096; }`;
  const temporary = (name: string): string =>
    ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${directory}/${name}-${kind};`).join(' ');
  const http = (name: string, body: string): string =>
    `${common(name)} http { access_log off; sendfile on; keepalive_requests 1000000; ${temporary(name)} ${body} }`;
  await writeFile(join(directory, 'upstream.conf'), http('upstream', `server { listen 127.0.0.1:${upstreamPort}; root ${root}; }`));
  const certificates = join(mesh.stateDir, 'certs', 'app.localhost');
  await writeFile(
    join(directory, 'proxy.conf'),
    http(
      'proxy',
      `upstream app { server 127.0.0.1:${upstreamPort}; keepalive 64; }
       server { listen 127.0.0.1:${nginxPort} ssl; ssl_protocols TLSv1.3; ssl_certificate ${certificates}.crt; ssl_certificate_key ${certificates}.key;
         location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; } }`,
    ),
  );
  const start = (core: number, name: string) =>
    spawn('taskset', ['-c', String(core % availableParallelism()), 'nginx', '-e', 'stderr', '-c', join(directory, `${name}.conf`)], {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
  const upstream = start(1, 'upstream');
  const proxy = start(0, 'proxy');
  return {
    proxyPid: proxy.pid ?? 0,
    stop() {
      upstream.kill('SIGTERM');
      proxy.kill('SIGTERM');
    },
  };
}

function pin(pid: number, core: number): void {
  spawnSync('taskset', ['-a', '-c', '-p', String(core), String(pid)]);
}

/** A wrk that resolves app.localhost to loopback and sends the session's cookie, which it reads from its environment. */
async function loadGenerator(directory: string, cookie: string): Promise<(url: string) => Promise<Load>> {
  const hosts = join(directory, 'hosts');
  await writeFile(hosts, '127.0.0.1 localhost app.localhost\n');
  const script = join(directory, 'load.lua');
  await writeFile(
    script,
    `wrk.headers["Cookie"] = os.getenv("COOKIE")
     done = function(summary, latency)
       io.write(string.format("RESULT %f %f %f %d %d\\n", summary.requests / summary.duration * 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000, summary.errors.status + summary.errors.read + summary.errors.write + summary.errors.timeout, summary.requests))
     end`,
  );
  return async (url) => {
    const command = `mount --bind ${hosts} /etc/hosts && exec taskset -c ${1 % availableParallelism()} wrk -t1 -c${connections} -d${seconds}s --latency -s ${script} ${url}/1k`;
    const wrk = spawn('unshare', ['-m', 'sh', '-c', command], { env: { ...process.env, COOKIE: cookie }, stdio: ['ignore', 'pipe', 'inherit'] });
    let out = '';
    wrk.stdout.on('data', (chunk: Buffer) => (out += chunk.toString('utf8')));
    await new Promise((done) => wrk.on('close', done));
    const [, rate, p50, p99, errors, requests] = /RESULT ([\d.]+) ([\d.]+) ([\d.]+) (\d+) (\d+)/.exec(out) ?? [];
    if (rate === undefined || errors !== '0') throw new Error(`wrk at ${url}: ${out}`);
    return { requests: Number(requests), rate: Number(rate), p50: Number(p50), p99: Number(p99) };
  };
}

/** One download with curl on the load's core, in megabytes a second. */
function download(mesh: Mesh, url: string, cookie: string): number {
  const args = [
    '-c',
    String(1 % availableParallelism()),
    'curl',
    '-sS',
    '--fail',
    '--cacert',
    mesh.caFile,
    '-H',
    '@-',
    '-o',
    '/dev/null',
    '-w',
    '%{speed_download} %{size_download}',
    `${url}/bulk`,
  ];
  const result = spawnSync('taskset', args, { encoding: 'utf8', input: `Cookie: ${cookie}\n` });
  const [speed, size] = result.stdout.split(' ').map(Number);
  if (size !== bulkBytes) throw new Error(`the download was not whole: ${result.stdout} ${result.stderr}`);
  return (speed ?? 0) / 1e6;
}

async function sessionCookie(mesh: Mesh): Promise<string> {
  const browser = new ScriptedBrowser(mesh.caFile);
  const page = await signIn(browser, `${mesh.url}/1k`, mesh.email, mesh.password);
  if (page.status !== 200) throw new Error(`sign-in ended at ${page.url} with ${page.status}`);
  const cookie = browser.cookieHeader(mesh.url);
  await browser.close();
  return cookie;
}

function residentMegabytes(pid: number): number {
  const status = spawnSync('cat', [`/proc/${pid}/status`], { encoding: 'utf8' }).stdout;
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? Number.NaN) / 1024;
}
