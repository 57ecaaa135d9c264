// Kill -9 of each process at any time: what was acknowledged is kept, and the others recover by themselves.
import t from 'tap';
import { readFileSync } from 'node:fs';
import { Agent, request } from 'undici';
import { ScriptedBrowser, signIn } from '../support/browser.ts';
import { startMesh } from '../support/mesh.ts';

const recoverTimeoutMs = 40_000;

/** Asks again until the answer fits; resolves with the milliseconds it took. */
async function until(look: () => Promise<boolean>): Promise<number> {
  const begun = performance.now();
  for (;;) {
    if (await look().catch(() => false)) return performance.now() - begun;
    if (performance.now() - begun > recoverTimeoutMs) throw new Error('not recovered in time');
    await new Promise((done) => {
      setTimeout(done, 50);
    });
  }
}

void t.test('each process is killed, and the product recovers', async (t) => {
  const mesh = await startMesh();
  t.teardown(() => mesh.stop());
  const browser = new ScriptedBrowser(mesh.caFile);
  t.teardown(() => browser.close());
  t.equal((await signIn(browser, mesh.url, mesh.email, mesh.password)).status, 200);
  const agent = new Agent({
    connect: { ca: readFileSync(mesh.caFile, 'utf8'), lookup: (_host, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }]) },
  });
  t.teardown(() => agent.close());
  const cookie = browser.cookieHeader(mesh.url);
  /** The app's answer to the session that was made before the kill: no redirect is followed. */
  const open = async (): Promise<number> => {
    const response = await request(mesh.url, { dispatcher: agent, headers: { cookie, accept: 'text/html' }, signal: AbortSignal.timeout(5_000) });
    await response.body.dump();
    return response.statusCode;
  };
  t.equal(await open(), 200);

  const server = await mesh.pidOf('server');
  process.kill(server, 'SIGKILL');
  t.equal(await open(), 200, 'the session goes on while the control plane is away');
  const served = await until(async () => (await mesh.pidOf('server')) !== server);
  const linked = await until(async () => JSON.stringify(await mesh.status('gateway')).includes('"name":"proxy","connected":true'));
  t.comment(`figure: control plane back after ${served.toFixed(0)} ms, gateway linked ${linked.toFixed(0)} ms later`);
  t.equal(await open(), 200);

  for (const name of ['agent', 'gateway'] as const) {
    const pid = await mesh.pidOf(name);
    const [before] = [((await mesh.status(name)) as { readonly mesh: { readonly address: string } }).mesh.address];
    process.kill(pid, 'SIGKILL');
    const back = await until(async () => (await mesh.pidOf(name)) !== pid);
    const again = await until(async () => (await open()) === 200);
    t.comment(`figure: ${name} back after ${back.toFixed(0)} ms, the session reaches the app ${again.toFixed(0)} ms later`);
    t.equal(
      ((await mesh.status(name)) as { readonly mesh: { readonly address: string } }).mesh.address,
      before,
      `the ${name} keeps its overlay address`,
    );
  }
});
