// A witness beside a running mesh: whether its processes are the same ones, how much memory they hold, what they wrote to their logs,
// and whether the app still answers somebody who is signed in.
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Test } from 'tap';
import { Agent, request } from 'undici';
import { ScriptedBrowser, signIn } from './browser.ts';
import { residentMb } from './hostile.ts';
import type { Mesh } from './mesh.ts';

const processes = ['server', 'gateway', 'agent'] as const;
/** Generous: what a heap may keep after floods before it is collected. A leak of what strangers send is far more. */
const growthMb = 80;
const answerMs = 5_000;

export class Witness {
  readonly cookie: string;
  readonly #mesh: Mesh;
  readonly #agent: Agent;
  readonly #pids: readonly number[];
  readonly #resident: readonly number[];

  private constructor(mesh: Mesh, cookie: string, agent: Agent, pids: readonly number[]) {
    this.cookie = cookie;
    this.#mesh = mesh;
    this.#agent = agent;
    this.#pids = pids;
    this.#resident = pids.map(residentMb);
  }

  /** Signs in once and keeps the session. */
  static async of(mesh: Mesh): Promise<Witness> {
    const browser = new ScriptedBrowser(mesh.caFile);
    await signIn(browser, mesh.url, mesh.email, mesh.password);
    const cookie = browser.cookieHeader(mesh.url);
    await browser.close();
    const agent = new Agent({
      pipelining: 0, // each request on a connection of its own
      connect: { ca: readFileSync(mesh.caFile, 'utf8'), lookup: (_host, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }]) },
    });
    return new Witness(mesh, cookie, agent, await Promise.all(processes.map((name) => mesh.pidOf(name))));
  }

  /** The status of a signed-in request on a new connection, and how long it took. */
  async ask(
    path = '/',
    headers: Readonly<Record<string, string>> = {},
  ): Promise<{ readonly status: number; readonly ms: number; readonly text: string }> {
    const begun = performance.now();
    const response = await request(`${this.#mesh.url}${path}`, {
      dispatcher: this.#agent,
      headers: { cookie: this.cookie, accept: 'text/html', ...headers },
      signal: AbortSignal.timeout(answerMs),
    });
    const text = await response.body.text();
    return { status: response.statusCode, ms: performance.now() - begun, text };
  }

  /** Asserts that nothing has happened to the mesh; to be called after each class of input. */
  async testify(t: Test): Promise<void> {
    t.same(await Promise.all(processes.map((name) => this.#mesh.pidOf(name))), this.#pids, 'the same three processes');
    const answer = await this.ask();
    t.equal(answer.status, 200, 'a signed-in person reaches the app');
    const now = this.#pids.map(residentMb);
    const figures = processes.map((name, i) => `${name} ${now[i]?.toFixed(0)} MB (${signed((now[i] ?? 0) - (this.#resident[i] ?? 0))})`);
    t.comment(`figure: resident ${figures.join(', ')}; app answered in ${answer.ms.toFixed(0)} ms`);
    for (const [i, name] of processes.entries()) {
      const growth = (now[i] ?? 0) - (this.#resident[i] ?? 0);
      if (!Number.isNaN(growth)) t.ok(growth < growthMb, `the memory of the ${name} stays bounded`, { growth });
    }
    t.same(await this.faults(), [], 'nothing unhandled in the logs, and no secret');
  }

  /** Lines of the logs that should not be there: errors, stack traces, secrets. */
  async faults(): Promise<readonly string[]> {
    const secrets = await this.#secrets();
    const found: string[] = [];
    for (const name of processes) {
      const lines = (await readFile(join(this.#mesh.stateDir, `${name}.log`), 'utf8')).split('\n');
      for (const line of lines) {
        if (secrets.some((secret) => line.includes(secret)) || /nb[px]_[A-Za-z0-9]{8}/.test(line)) found.push(`${name} tells a secret: ${line}`);
        if (/"level":(?:50|60)/.test(line) || /unhandled|uncaught|^\s+at /i.test(line)) found.push(`${name}: ${line}`);
      }
    }
    return found;
  }

  close(): Promise<void> {
    return this.#agent.close();
  }

  async #secrets(): Promise<readonly string[]> {
    const file = async (...path: string[]): Promise<string> => (await readFile(join(this.#mesh.stateDir, ...path), 'utf8')).trim();
    const { token, password } = JSON.parse(await file('start.json')) as { readonly token: string; readonly password: string };
    return [
      password,
      token,
      await file('agent', 'setup-key'),
      await file('gateway', 'token'),
      this.#mesh.tokenHeader.slice('Authorization: Bearer '.length),
      ...this.cookie.split('; ').map((pair) => pair.slice(pair.indexOf('=') + 1)),
    ].filter((secret) => secret.length > 7);
  }
}

function signed(megabytes: number): string {
  return `${megabytes < 0 ? '' : '+'}${megabytes.toFixed(0)}`;
}
