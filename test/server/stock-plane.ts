// A whole control plane in this process, with two users, and what a stock client needs to talk to it.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { Agent, request } from 'undici';
import { silentLogger } from '#lib/log.ts';
import { parseOrThrow } from '#lib/schema.ts';
import { parseRpcUrl, RpcChannel } from '#rpc/client.ts';
import { serverSchema, startServer } from '#server/index.ts';
import { freePort } from '../support/mesh.ts';
import { createTestCa } from '../support/test-ca.ts';
import { Browser } from './idp/support/browser.ts';
import { StockClient } from './management/stock-client.ts';

export const owner = { email: 'ada@example.com', password: 'correct horse battery' };
export const other = { email: 'bob@example.com', password: 'battery horse correct' };

export interface Json {
  readonly [key: string]: unknown;
}

/** A control plane with two users; `token` calls the API as the owner. */
export async function startPlane(t: Test) {
  const stateDir = await mkdtemp(join(tmpdir(), 'mg-sso-'));
  const port = await freePort();
  const origin = `https://mesh.localhost:${port}`;
  const ca = await createTestCa();
  const { certPem, keyPem } = await ca.issue(['mesh.localhost']);
  const [certFile, keyFile] = [join(stateDir, 'tls.crt'), join(stateDir, 'tls.key')];
  await Promise.all([writeFile(certFile, certPem), writeFile(keyFile, keyPem, { mode: 0o600 })]);
  const config = parseOrThrow(serverSchema, {
    stateDir,
    listen: `127.0.0.1:${port}`,
    publicUrl: origin,
    tls: { certFile, keyFile },
    stun: { listen: '127.0.0.1:0' },
  });
  const server = await startServer(config, { log: silentLogger });
  const lookup = (_host: string, options: { all?: boolean }, done: (error: null, found: unknown, family?: number) => void): void =>
    options.all === true ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4);
  const agent = new Agent({ connect: { ca: ca.caPem, lookup: lookup as never } });
  const browsers: Browser[] = [];
  const channels: RpcChannel[] = [];
  t.teardown(async () => {
    await Promise.all([...browsers.map((browser) => browser.close()), agent.close()]);
    await Promise.all(channels.map((channel) => channel.close()));
    await server.close();
    await rm(stateDir, { recursive: true, force: true });
  });

  /** Go's HTTP client names no type that it accepts. */
  const post = async (url: string, form: Readonly<Record<string, string>>, headers: Readonly<Record<string, string>> = {}) => {
    const answer = await request(url, {
      method: 'POST',
      dispatcher: agent,
      headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
      body: new URLSearchParams(form).toString(),
    });
    return { status: answer.statusCode, body: (await answer.body.json()) as Json };
  };
  let token = '';
  const call = async (method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: Json): Promise<Json> => {
    const answer = await request(`${origin}/api${path}`, {
      method,
      dispatcher: agent,
      headers: {
        ...(token === '' ? {} : { authorization: `Token ${token}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      body: body === undefined ? null : JSON.stringify(body),
    });
    const read = (await answer.body.json()) as Json;
    if (answer.statusCode !== 200) throw new TypeError(`${method} ${path}: ${answer.statusCode} ${JSON.stringify(read)}`);
    return read;
  };
  const code = (await readFile(join(stateDir, 'setup-code'), 'utf8')).trim();
  token = String((await call('POST', '/setup', { ...owner, name: 'Ada', code, create_pat: true }))['personal_access_token']);
  await call('POST', '/users', { ...other, name: 'Bob', role: 'user', auto_groups: [] });
  return {
    origin,
    post,
    call,
    browser: () => {
      const browser = new Browser(ca.caPem);
      browsers.push(browser);
      return browser;
    },
    client: async () => {
      const channel = new RpcChannel(parseRpcUrl(origin, ca.caPem));
      channels.push(channel);
      const client = new StockClient(channel);
      await client.fetchKey();
      return client;
    },
  };
}

export type Plane = Awaited<ReturnType<typeof startPlane>>;
