// An agent in system mode: the kernel's TCP carries the request, and the device is gone with the process.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';

const script = join(import.meta.dirname, 'system-mode-run.ts');
const possible = spawnSync('unshare', ['-n', 'test', '-w', '/dev/net/tun']).status === 0;

t.test('the whole product with an agent in system mode', async (t) => {
  if (!possible) {
    t.plan(0, 'needs Linux, root and /dev/net/tun');
    return;
  }
  const child = spawnSync('unshare', ['-n', 'sh', '-c', `ip link set lo up && exec ${process.execPath} --no-warnings ${script}`], {
    encoding: 'utf8',
    timeout: 90_000,
  });
  const lines = child.stdout.trim().split('\n');
  t.equal(child.status, 0, child.stderr);
  const result = JSON.parse(lines.at(-1) ?? '{}') as Record<'interfaces' | 'curl' | 'after', string> & {
    agent: { mesh: { overlay: { mode: string } } };
    code: number;
  };
  t.match(result.interfaces, /wtmg0\s+inet 100\./, 'the device has the overlay address');
  t.equal(result.agent.mesh.overlay.mode, 'system', 'and status says so');
  t.match(result.curl, '"path": "/some/path"', 'the request came through it');
  t.equal(result.code, 0);
  t.notMatch(result.after, /wtmg/, 'nothing of it is left');
});
