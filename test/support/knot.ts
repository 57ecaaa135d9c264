// Knot DNS, a real name server that takes signed updates (RFC 2136, RFC 8945), for one zone.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Resolver } from 'node:dns/promises';
import type { Test } from 'tap';
import { freePort } from './mesh.ts';
import { until } from './until.ts';

/** Why the suites against Knot cannot run here; false where they can. */
export const withoutKnot = spawnSync('sh', ['-c', 'command -v knotd']).status === 0 ? false : 'knot is not installed';

export interface Knot {
  readonly port: number;
  /** Values of a TXT record now. */
  txt(name: string): Promise<readonly string[]>;
}

export async function startKnot(
  t: Test,
  zone: string,
  key: { readonly name: string; readonly algorithm: string; readonly secret: string },
): Promise<Knot> {
  const folder = await mkdtemp(join(tmpdir(), 'knot-'));
  const port = await freePort();
  const config = `server:
    rundir: ${folder}
    listen: 127.0.0.1@${port}
database:
    storage: ${folder}
key:
  - id: ${key.name}
    algorithm: ${key.algorithm}
    secret: ${key.secret}
acl:
  - id: update
    key: ${key.name}
    action: update
zone:
  - domain: ${zone}
    storage: ${folder}
    file: zone
    acl: update
`;
  const records = `$ORIGIN ${zone}.\n$TTL 60\n@ SOA ns admin 1 60 60 60 60\n@ NS ns\nns A 127.0.0.1\n@ A 127.0.0.1\n* A 127.0.0.1\n`;
  await writeFile(join(folder, 'knot.conf'), config);
  await writeFile(join(folder, 'zone'), records);
  const child = spawn('knotd', ['-c', join(folder, 'knot.conf')], { stdio: 'ignore' });
  t.teardown(async () => {
    child.kill('SIGKILL');
    await rm(folder, { recursive: true, force: true });
  });
  const resolver = new Resolver({ timeout: 500, tries: 1 });
  resolver.setServers([`127.0.0.1:${port}`]);
  const answers = (): Promise<boolean> =>
    resolver.resolve4(zone).then(
      () => true,
      () => false,
    );
  await until('knot answers', answers);
  return {
    port,
    txt: (name) =>
      resolver.resolveTxt(name).then(
        (found) => found.map((parts) => parts.join('')),
        () => [],
      ),
  };
}
