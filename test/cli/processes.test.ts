// The process commands: configuration from its sources, describe, stop, and the deadline of the stop.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { logLevels } from '#lib/log.ts';
import { integer, list, object, oneOf, string } from '#lib/schema.ts';
import { bindProcess, closeInTime, processCommand, type Running } from '#cli/processes.ts';
import { referenceCommands } from '#cli/reference.ts';
import { run } from './fake-io.ts';

const stateDir = mkdtempSync(join(tmpdir(), 'mg-'));
t.teardown(() => rmSync(stateDir, { recursive: true }));

const schema = object({
  stateDir: string({ default: stateDir }),
  logLevel: oneOf(logLevels, { default: 'silent' }),
  listen: string({ about: 'where it listens', default: ':1' }),
  workers: integer({ default: 1 }),
  origins: list(string(), { default: [] }),
  token: string({ secret: true }),
});

function fake(started: unknown[], close: () => Promise<void> = async () => undefined) {
  const start = async (config: unknown): Promise<Running> => {
    started.push(config);
    return { close, describe: () => ['listening', 'second line'] };
  };
  return [processCommand('demo', 'a demonstration', async () => bindProcess('demo', schema, start))];
}

t.test('runs with file < environment < flags until it has to stop', async (t) => {
  const file = join(t.testdir({ 'c.json': JSON.stringify({ listen: 'file', workers: 2, origins: ['a'] }) }), 'c.json');
  const started: unknown[] = [];
  const stopping = new AbortController();
  let closed = 0;
  const commands = fake(started, async () => void closed++);
  const env = { MESHGATE_DEMO_TOKEN: 't', MESHGATE_DEMO_WORKERS: '3', MESHGATE_DEMO_LISTEN: 'env', MESHGATE_DEMO_WORKER: '9' };
  const outcome = await run(['demo', '--config', file, '--listen', 'flag'], { env, commands, stop: stopping.signal, onOut: () => stopping.abort() });
  t.same(started, [{ stateDir, logLevel: 'silent', listen: 'flag', workers: 3, origins: ['a'], token: 't' }]);
  t.same(outcome, {
    code: 0,
    out: 'listening\nsecond line',
    err: 'meshgate: the environment variable MESHGATE_DEMO_WORKER is not known; did you mean MESHGATE_DEMO_WORKERS?',
  });
  t.equal(closed, 1);
});

t.test('a wrong configuration is told whole, with exit code 2', async (t) => {
  const started: unknown[] = [];
  const dir = t.testdir({ 'c.json': '{"lisen": 1}', 'broken.json': '{"token": "hunter2" x}' });
  t.same(await run(['demo', '--config', join(dir, 'c.json'), '--workers', 'many'], { commands: fake(started) }), {
    code: 2,
    out: '',
    err: [
      `meshgate: ${join(dir, 'c.json')}: lisen is not known; did you mean listen?`,
      'meshgate: --workers must be an integer of at least 0',
      'meshgate: token is missing (in the file, or as MESHGATE_DEMO_TOKEN)',
    ].join('\n'),
  });
  const broken = await run(['demo', '--config', join(dir, 'broken.json')], { commands: fake(started) });
  t.match(broken, { code: 1, err: /broken\.json is not JSON/ });
  t.notMatch(broken.err, /hunter2/);
  t.match(await run(['demo', '--config', join(dir, 'none.json')], { commands: fake(started) }), { code: 1, err: /there is no such file/ });
  t.match(await run(['demo', '--token', 'x'], { commands: fake(started) }), { code: 2, err: /--token is not known/ }, 'secrets have no flag');
  t.same(started, []);
});

t.test('a state directory that cannot be used is told before anything starts', async (t) => {
  const started: unknown[] = [];
  const env = { MESHGATE_DEMO_TOKEN: 't' };
  const world = { env, commands: fake(started), stop: AbortSignal.abort() };
  const file = join(stateDir, 'file');
  writeFileSync(file, '');
  t.match(await run(['demo', '--state-dir', file], world), { code: 1, err: /state directory cannot be used.*file: it is a file/ });
  t.match(await run(['demo', '--state-dir', join(file, 'x')], world), { code: 1, err: /a part of its path is a file/ });
  const holder = createServer((socket) => socket.destroy());
  await new Promise<void>((done) => holder.listen(join(stateDir, 'status.sock'), done));
  t.match(await run(['demo'], world), { code: 1, err: /another process runs from this state directory/ });
  t.same(started, []);
  await new Promise((done) => holder.close(done));
  t.equal((await run(['demo'], world)).code, 0);
});

t.test('its help names every flag with its environment variable', async (t) => {
  const { out } = await run(['demo', '--help'], { commands: fake([]) });
  t.match(out, /--listen string +where it listens \[MESHGATE_DEMO_LISTEN\]/);
  t.match(out, /--config FILE/);
});

t.test('a close that hangs is given up, one that fails is a failure', async (t) => {
  const err: string[] = [];
  const io = { out: () => undefined, err: (line: string) => void err.push(line), env: {}, stop: AbortSignal.abort(), secret: async () => '' };
  t.equal(await closeInTime({ close: () => new Promise(() => undefined) }, io, 10), 1);
  t.match(err, ['meshgate: not everything ended within 0.01 s']);
  await t.rejects(closeInTime({ close: () => Promise.reject(new TypeError('x')) }, io));
});

t.test('the reference and the example come from the schema', async (t) => {
  const commands = referenceCommands({
    demo: async () => bindProcess('demo', schema, async () => ({ close: async () => undefined, describe: () => [] })),
  });
  const docs = await run(['config', 'docs'], { commands });
  t.match(docs.out, /## meshgate demo\n\n\| Setting \|/);
  t.match(docs.out, /\| `listen` \| string \| `":1"` \| `MESHGATE_DEMO_LISTEN` \| where it listens \|/);
  t.match(JSON.parse((await run(['config', 'example', 'demo'], { commands })).out), { listen: ':1', workers: 1 });
  t.match(await run(['config', 'example', 'demi'], { commands }), { code: 2, err: /PROCESS is one of demo/ });
});
