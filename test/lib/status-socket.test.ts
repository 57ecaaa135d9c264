// The status socket of a process: JSON over a private UNIX socket, stale ones replaced.
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { serveStatus } from '#lib/status-socket.ts';

function get(socketPath: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    request({ socketPath, path: '/status', agent: false, signal: AbortSignal.timeout(5_000) }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString()));
      response.on('end', () => resolve(JSON.parse(text)));
    })
      .on('error', reject)
      .end();
  });
}

t.test('serves the state as of now, to the owner only, and ends', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'mg-'));
  t.teardown(() => rm(dir, { recursive: true, force: true }));
  await writeFile(join(dir, 'status.sock'), 'left by a killed process');
  let serial = 1n;
  const served = await serveStatus(dir, () => ({ serial }));
  if (served === undefined) return t.fail('no socket');
  t.equal((await stat(served.path)).mode & 0o777, 0o600);
  t.same(await get(served.path), { serial: '1' });
  serial = 2n;
  t.same(await get(served.path), { serial: '2' });
  await served.close();
  return t.rejects(get(served.path));
});

t.test('a path too long for a socket is told, not tried', async (t) => {
  t.equal(await serveStatus(`/tmp/${'x'.repeat(120)}`, () => ({})), undefined);
});
