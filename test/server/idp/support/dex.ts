// Dex, where the program on the path is really that: Debian has another one of the same name.
import type { Test } from 'tap';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import type { TestCa } from '../../../support/test-ca.ts';

const run = promisify(execFile);

/** The program's name where `dex version` answers as Dex does; else undefined. */
export async function findDex(): Promise<string | undefined> {
  try {
    const { stdout } = await run('dex', ['version'], { timeout: 5000 });
    return /dex version|go version/i.test(stdout) ? 'dex' : undefined;
  } catch {
    return undefined;
  }
}

export interface Dex {
  readonly issuer: string;
  readonly clientId: string;
  readonly clientSecret: string;
  readonly email: string;
  readonly password: string;
  /** Starts it with this redirect URI; resolves once it listens. */
  readonly start: (redirectUri: string) => Promise<void>;
}

/** Prepares Dex on a free port with one user; it ends with the test. */
export async function startDex(t: Test, binary: string, ca: TestCa): Promise<Dex> {
  const folder = await mkdtemp(join(tmpdir(), 'meshgate-dex-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const { certPem, keyPem } = await ca.issue(['dex.localhost']);
  await writeFile(join(folder, 'cert.pem'), certPem);
  await writeFile(join(folder, 'key.pem'), keyPem, { mode: 0o600 });
  const port = await freePort();
  const dex = {
    issuer: `https://dex.localhost:${port}/dex`,
    clientId: 'meshgate',
    clientSecret: 'a-secret-of-the-test',
    email: 'dana@dex.test',
    password: 'password',
  };
  return {
    ...dex,
    async start(redirectUri) {
      const config = {
        issuer: dex.issuer,
        storage: { type: 'memory' },
        web: { https: `127.0.0.1:${port}`, tlsCert: join(folder, 'cert.pem'), tlsKey: join(folder, 'key.pem') },
        oauth2: { skipApprovalScreen: true },
        enablePasswordDB: true,
        staticClients: [{ id: dex.clientId, secret: dex.clientSecret, name: 'Meshgate', redirectURIs: [redirectUri] }],
        // bcrypt of `password`, from Dex's own example of a static user
        staticPasswords: [
          { email: dex.email, hash: '$2a$10$2b2cU8CPhOTaGrs1HRQuAueS7JTT5ZHsHSzYiFPm1leZck7Mc8T4W', username: 'Dana', userID: 'dana' },
        ],
      };
      const file = join(folder, 'config.json');
      await writeFile(file, JSON.stringify(config));
      const child = spawn(binary, ['serve', file], { stdio: ['ignore', 'ignore', 'pipe'] });
      t.teardown(async () => {
        child.kill();
        if (child.exitCode === null) await once(child, 'exit');
      });
      for await (const line of createInterface({ input: child.stderr })) if (/listening/i.test(line)) break;
      child.stderr.resume();
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
