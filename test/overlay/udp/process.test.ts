// The native port and the process: it keeps it alive while open, leaves nothing behind, and is not tried where it cannot be.
import { spawnSync } from 'node:child_process';
import t from 'tap';
import { portKinds } from './ports.ts';

const { missing } = await portKinds();
const href = (path: string): string => JSON.stringify(new URL(`../../../src/${path}`, import.meta.url).href);
const prelude = `
  const { openDatagramPort } = await import(${href('overlay/udp/open.ts')});
  const { describeAccelerator } = await import(${href('overlay/udp/port.ts')});
  const { silentLogger } = await import(${href('lib/log.ts')});
  const open = () => openDatagramPort(0, { receive: () => undefined, drained: () => undefined }, silentLogger);
`;

function run(
  script: string,
  ...flags: readonly string[]
): { readonly status: number | null; readonly signal: string | null; readonly out: string; readonly err: string } {
  // Without the environment: the test runner would load its own part into it.
  const child = spawnSync('env', ['-i', process.execPath, ...flags, '--input-type=module', '-e', prelude + script], {
    cwd: process.cwd(),
    timeout: 30_000,
  });
  return { status: child.status, signal: child.signal, out: child.stdout.toString(), err: child.stderr.toString() };
}

t.test('the process ends when the port is closed, and says nothing on the console', async (t) => {
  t.same(run('const port = await open(); await port.close(); await port.close();'), { status: 0, signal: null, out: '', err: '' });
});

t.test('an open port keeps the process alive', async (t) => {
  const script = `
    const port = await open();
    const timer = setTimeout(() => { console.log('alive'); port.close(); }, 50);
    timer.unref();`;
  t.same(run(script), { status: 0, signal: null, out: 'alive\n', err: '' });
});

for (const [how, script, status] of [
  ['exit', 'process.exit(3);', 3],
  ['an error', 'setImmediate(() => { throw 5; });', 1],
] as const) {
  t.test(`the end of the process by ${how} is no fault, with datagrams coming in`, async (t) => {
    const result = run(`
      const a = await open();
      const b = await open();
      for (let i = 0; i < 100; i++) a.send(Buffer.alloc(100), { address: '127.0.0.1', port: b.port });
      ${script}`);
    t.same([result.status, result.signal], [status, null]);
  });
}

t.test('a worker thread has the plain port, and can be ended at any time', async (t) => {
  const script = `
    import { Worker } from 'node:worker_threads';
    const worker = new Worker(${JSON.stringify(prelude)} + \`
      const { parentPort } = await import('node:worker_threads');
      const port = await open();
      parentPort.postMessage(describeAccelerator(port.accelerator));\`, { eval: true, type: 'module' });
    worker.on('error', (error) => console.log(String(error)));
    worker.on('message', (message) => { console.log(message); void worker.terminate(); });`;
  const result = run(script);
  t.same([result.status, result.signal, result.err], [0, null, '']);
  t.match(result.out, missing === undefined ? /^dgram \(.*worker thread/ : /^dgram/);
});

t.test('a Node that forbids it has the plain port', async (t) => {
  const result = run(
    'const port = await open(); console.log(describeAccelerator(port.accelerator)); await port.close();',
    '--permission',
    '--allow-fs-read=*',
    '--allow-net',
  );
  if (result.status === 9) return t.plan(0, 'needs a Node with --permission');
  t.same([result.status, result.signal], [0, null], result.err);
  t.match(result.out, /^dgram \(/);
});
