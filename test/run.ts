// `npm test`: brings in what the suites need where it can, runs every check and every suite, and ends with one line that counts them.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';

/** Debian package → the program that shows it is there, and the suites that need it. */
const packages: readonly { readonly name: string; readonly program: string; readonly suites: string }[] = [
  { name: 'wireguard-go', program: 'wireguard-go', suites: 'WireGuard against wireguard-go' },
  { name: 'wireguard-tools', program: 'wg', suites: 'WireGuard against wireguard-go' },
  { name: 'coturn', program: 'turnserver', suites: 'STUN and TURN against coturn, and between NATs' },
  { name: 'nftables', program: 'nft', suites: 'paths between NATs' },
  { name: 'conntrack', program: 'conntrack', suites: 'a NAT that forgets its mappings' },
  { name: 'iproute2', program: 'ip', suites: 'the TCP/IP stack against the kernel' },
  { name: 'nftables', program: 'nft', suites: 'firewalls and NATs between peers' },
  { name: 'conntrack', program: 'conntrack', suites: 'firewalls and NATs between peers' },
  { name: 'chromium', program: 'chromium', suites: 'sign-in with a real browser' },
  { name: 'postgresql', program: '/usr/lib/postgresql', suites: 'the store on PostgreSQL' },
  { name: 'python3-pip', program: 'pip3', suites: 'sign-in through another OpenID provider' },
  { name: 'python3', program: 'python3', suites: 'attacks seen by a Python server' },
  { name: 'php-cli', program: 'php', suites: 'attacks seen by a PHP server' },
  { name: 'openssl', program: 'openssl', suites: 'early data and other TLS that Node cannot ask for' },
  { name: 'curl', program: 'curl', suites: 'the product with curl' },
  { name: 'openssh-server', program: '/usr/sbin/sshd', suites: 'SSH through meshgate connect' },
  { name: 'openssh-client', program: 'ssh-keyscan', suites: 'SSH through meshgate connect' },
  { name: 'pebble', program: 'pebble', suites: 'automatic certificates' },
  { name: 'openssl', program: 'openssl', suites: 'OCSP stapling' },
  { name: 'knot', program: 'knotd', suites: 'automatic certificates by DNS' },
  { name: 'openssh-server', program: '/usr/sbin/sshd', suites: 'protocols over streams' },
  { name: 'openssh-client', program: 'scp', suites: 'protocols over streams' },
  { name: 'knot-dnsutils', program: 'kdig', suites: 'protocols over streams' },
  { name: 'redis-server', program: 'redis-server', suites: 'protocols over streams' },
  { name: 'mosquitto', program: 'mosquitto', suites: 'protocols over streams' },
  { name: 'mosquitto-clients', program: 'mosquitto_pub', suites: 'protocols over streams' },
  { name: 'nginx', program: 'nginx', suites: 'the benchmark' },
  { name: 'wrk', program: 'wrk', suites: 'the benchmark' },
  { name: 'iperf3', program: 'iperf3', suites: 'the benchmark' },
  { name: 'haproxy', program: 'haproxy', suites: 'the benchmark of streams' },
  { name: 'libnginx-mod-stream', program: '/usr/lib/nginx/modules/ngx_stream_module.so', suites: 'the benchmark of streams' },
  { name: 'crowdsec', program: 'cscli', suites: 'CrowdSec' },
  { name: 'gcc', program: 'cc', suites: 'the benchmark of streams' },
  { name: 'libc6-dev', program: '/usr/include/stdio.h', suites: 'the benchmark of streams' },
];

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: { 'no-install': { type: 'boolean', default: false }, only: { type: 'boolean', default: false } },
});

let passed = 0;
let failed = 0;
const skipped: string[] = [];
const failures: string[] = [];
const onlyAlone: string[] = [];

function isThere(program: string): boolean {
  return program.startsWith('/') ? existsSync(program) : spawnSync('sh', ['-c', `command -v ${program}`]).status === 0;
}

function installPackages(): void {
  const missing = packages.filter(({ program }) => !isThere(program));
  if (missing.length === 0 || flags['no-install']) return;
  const names = missing.map(({ name }) => name).join(' ');
  if (!existsSync('/etc/debian_version') || process.getuid?.() !== 0) {
    console.log(`Not installed, and only root on Debian can install it here: ${names}. The suites that need it are named as skipped below.`);
    return;
  }
  console.log(`Installing for the suites: ${names}`);
  // Its package would register this machine with CrowdSec's central service, unless there is such a file with something in it.
  const central = '/etc/crowdsec/online_api_credentials.yaml';
  if (missing.some(({ name }) => name === 'crowdsec') && !existsSync(central)) {
    mkdirSync('/etc/crowdsec', { recursive: true });
    writeFileSync(central, '# The central service is not used.\n');
  }
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  spawnSync('apt-get', ['update', '-q'], { env, stdio: 'ignore' });
  const done = spawnSync('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...missing.map(({ name }) => name)], {
    env,
    encoding: 'utf8',
  });
  if (done.status !== 0) console.log(`apt-get could not install everything: ${done.stderr.trim().split('\n').at(-1) ?? ''}`);
}

/** h2spec is no Debian package: where there is Go, its module proxy has it. Built once a working copy; a minute when nothing is cached. */
function installH2spec(): void {
  const folder = resolve('node_modules/.cache/meshgate-tools');
  if (flags['no-install'] || existsSync(`${folder}/h2spec`) || !isThere('go')) return;
  console.log('Installing for the suites: h2spec');
  const env = { ...process.env, GOBIN: folder };
  const done = spawnSync('go', ['install', 'github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible'], {
    env,
    encoding: 'utf8',
    timeout: 180_000,
  });
  if (done.status !== 0) console.log(`go could not install h2spec: ${(done.stderr ?? '').trim().split('\n').at(-1) ?? ''}`);
}

/** A check that is a command: it passes or fails as a whole. */
function runCheck(name: string, command: string, args: readonly string[]): void {
  const result = spawnSync(command, args, { encoding: 'utf8' });
  if (result.status === 0) {
    passed++;
    console.log(`ok      ${name}`);
  } else {
    failed++;
    failures.push(name);
    console.log(`FAILED  ${name}\n${result.stdout}${result.stderr}`);
  }
}

interface SuiteRun {
  readonly passed: number;
  readonly failed: number;
  readonly failedFiles: readonly string[];
}

/** Runs tap, prints a line a suite, the comments that carry figures, and whole reports of what failed. */
async function runSuites(files: readonly string[], alone: boolean): Promise<SuiteRun> {
  const tap = spawn('tap', ['run', '--reporter=tap', ...(alone ? ['--jobs=1'] : []), ...files], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exit = new Promise<number>((resolve) => {
    tap.on('close', (code) => resolve(code ?? 1));
  });
  let report: string[] = [];
  let totals: { readonly passed: number; readonly failed: number } | undefined;
  const failedFiles: string[] = [];
  for await (const line of createInterface({ input: tap.stdout })) {
    report.push(line);
    const skip = /^\s*ok \d+ - (.*?) # SKIP ?(.*)$/.exec(line);
    if (skip !== null) skipped.push(`${skip[1] ?? ''}: ${skip[2] ?? ''}`);
    const figure = /^\s*# (figure: .*)$/.exec(line);
    if (figure !== null) console.log(`        ${figure[1] ?? ''}`);
    const suite = /^(ok|not ok) \d+ - (\S+\.test\.ts)/.exec(line);
    if (suite !== null) {
      console.log(`${suite[1] === 'ok' ? 'ok    ' : 'FAILED'}  ${suite[2] ?? ''}`);
      if (suite[1] !== 'ok') {
        failedFiles.push(suite[2] ?? '');
        console.log(failedPart(report).join('\n'));
      }
      report = [];
    }
    const total = /^# \{ total: (\d+), pass: (\d+)(?:, fail: (\d+))?/.exec(line);
    if (total !== null) totals = { passed: Number(total[2]), failed: Number(total[3] ?? 0) };
  }
  const clean = (await exit) === 0 && totals !== undefined;
  return { passed: totals?.passed ?? 0, failed: clean ? 0 : Math.max(1, totals?.failed ?? 1), failedFiles };
}

/**
 * All suites, several at once. Most wait for real sockets and processes, and a machine that is busy beside can be too slow for one of them:
 * what failed is run once more, alone, and told by name. What fails twice has failed.
 */
async function runAll(files: readonly string[]): Promise<void> {
  const first = await runSuites(files, false);
  passed += first.passed;
  if (first.failed === 0) return;
  if (first.failedFiles.length === 0) {
    failed += first.failed;
    failures.push('tap itself');
    return;
  }
  console.log(`\nOnce more, alone: ${first.failedFiles.join(', ')}`);
  const second = await runSuites(first.failedFiles, true);
  failed += second.failed;
  failures.push(...second.failedFiles);
  onlyAlone.push(...first.failedFiles.filter((file) => !second.failedFiles.includes(file)));
  if (second.failed === 0) passed += first.failed;
}

/** The lines of a suite's report from each failure to the end of its diagnostics. */
function failedPart(report: readonly string[]): string[] {
  const out: string[] = [];
  let inside = 0;
  for (const line of report) {
    if (/^\s*not ok /.test(line)) inside = 40;
    if (inside-- > 0) out.push(line);
  }
  return out.slice(0, 400);
}

installPackages();
installH2spec();
if (!flags.only) {
  runCheck('types (tsc)', 'tsc', []);
  runCheck('lint (oxlint)', 'oxlint', ['-c', 'config/oxlint.json', '--type-aware', 'src', 'test']);
  runCheck('format (oxfmt)', 'oxfmt', ['-c', 'config/oxfmt.json', '--check', 'src', 'test', '!src/wire/proto/gen', '!**/*.md']);
  runCheck('unused files, exports and packages (knip)', 'knip', ['-c', 'config/knip.json']);
}
await runAll(positionals);
if (skipped.length > 0) console.log(`\nSkipped, with the reason:\n${skipped.map((line) => `  ${line}`).join('\n')}`);
if (onlyAlone.length > 0) console.log(`\nPassed only alone, at the second try:\n${onlyAlone.map((line) => `  ${line}`).join('\n')}`);
if (failures.length > 0) console.log(`\nFailed:\n${failures.map((line) => `  ${line}`).join('\n')}`);
console.log(`${passed} passed, ${failed} failed${skipped.length > 0 ? `, ${skipped.length} skipped` : ''}`);
process.exitCode = failed === 0 ? 0 : 1;
