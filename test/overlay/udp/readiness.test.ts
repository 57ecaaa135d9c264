// Polling a descriptor of our own: woken when there is something, quiet when not, and no trace at the end.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, openSync, closeSync, readSync, writeSync, constants } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { watchDescriptor } from '#overlay/udp/readiness.ts';

/** A named pipe opened for both, so that it never ends. */
function pipe(): number {
  const path = join(mkdtempSync(join(tmpdir(), 'readiness-')), 'pipe');
  spawnSync('mkfifo', [path]);
  return openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
}

t.test('a descriptor that becomes readable wakes its watcher each turn until it is read', async (t) => {
  const descriptor = pipe();
  const bytes = Buffer.alloc(100);
  let calls = 0;
  await new Promise<void>((resolve) => {
    const watcher = watchDescriptor(descriptor, () => {
      calls++;
      // Level-triggered: left unread it comes again.
      if (calls === 1) return;
      const read = readSync(descriptor, bytes);
      t.equal(bytes.toString('utf8', 0, read), 'hello');
      resolve();
    });
    t.teardown(() => watcher.close());
    writeSync(descriptor, 'hello');
  });
  t.equal(calls, 2);
});

t.test('closing twice is closing once, and nothing is called afterwards', async (t) => {
  const descriptor = pipe();
  const watcher = watchDescriptor(descriptor, () => t.fail('called after close'));
  writeSync(descriptor, 'x');
  await Promise.all([watcher.close(), watcher.close()]);
  await new Promise((resolve) => setImmediate(resolve));
  closeSync(descriptor);
});

t.test('a descriptor that cannot be polled is refused', async (t) => {
  t.throws(() => watchDescriptor(1_000_000, () => undefined), { code: 'OVERLAY_NATIVE' });
});

t.test('a process ends whether its watcher was closed, left open without reference, or cut off', async (t) => {
  const module = JSON.stringify(new URL('../../../src/overlay/udp/readiness.ts', import.meta.url).href);
  for (const [end, code] of [
    ['await watcher.close();', 0],
    ['watcher.ref(false);', 0],
    ['process.exit(3);', 3],
  ] as const) {
    const script = `
      import dgram from 'node:dgram';
      const { watchDescriptor } = await import(${module});
      const { openSync } = await import('node:fs');
      const watcher = watchDescriptor(openSync('/dev/ptmx', 'r+'), () => undefined);
      ${end}`;
    const child = spawnSync(process.execPath, ['--no-warnings', '--input-type=module', '-e', script], { cwd: process.cwd(), timeout: 20_000 });
    t.same([child.status, child.signal, child.stderr.toString()], [code, null, ''], end);
  }
});
