// Sets the control plane up through its own API: the owner, the agent's key, the gateway's token, the service. Every step looks first,
// so a start that was cut short anywhere goes on where it stopped.
import { join } from 'node:path';
import { readFileIfThere, writeFileAtomic } from '#lib/files.ts';
import { list, object, parse, string, type Schema } from '#lib/schema.ts';
import { sleep } from '#lib/backoff.ts';
import { openApi, type ApiClient } from '../api-client.ts';
import { saveLocalCredentials } from '../credentials.ts';
import { startError } from './errors.ts';
import { saveKept, type Kept } from './kept.ts';
import type { StartOptions } from './options.ts';

const pollMs = 50;
const tokenDays = 365;
const setupKeySeconds = 86_400;
export const agentName = 'local-agent';
const gatewayTokenName = 'local-gateway';

/** Where the control plane is, and the file of its authority. */
export interface ControlPlane {
  readonly api: string;
  readonly ca: string;
}

/** Makes the owner where there is none yet; returns the API as the owner. */
export async function ensureOwner(server: ControlPlane, stateDir: string, kept: Kept, stop: AbortSignal): Promise<ApiClient> {
  if (kept.token !== undefined) return openAsOwner(server, stateDir, kept.token, stop);
  const anonymous = await openApi({ ...server, token: undefined }, stop);
  try {
    const code = await readFileIfThere(join(stateDir, 'server', 'setup-code'));
    if (code === undefined) {
      throw startError(
        'START_API_REFUSED',
        `the control plane in ${stateDir} was set up by somebody else; use another --state-dir, or remove this one to begin anew`,
      );
    }
    const answer = await anonymous.call('POST', '/api/setup', {
      code: code.trim(),
      email: kept.email,
      password: kept.password,
      name: 'Administrator',
      create_pat: true,
      pat_expire_in: tokenDays,
    });
    const token = field(answer, 'personal_access_token');
    await saveKept(stateDir, { ...kept, token });
    return await openAsOwner(server, stateDir, token, stop);
  } finally {
    await anonymous.close();
  }
}

/** Commands that are run beside the mesh are the owner's too. */
async function openAsOwner(server: ControlPlane, stateDir: string, token: string, stop: AbortSignal): Promise<ApiClient> {
  await saveLocalCredentials(stateDir, { ...server, token });
  return openApi({ ...server, token }, stop);
}

/** The parent of the app's name is where the gateway serves. */
export function clusterOf({ hostname }: Pick<StartOptions, 'hostname'>): string {
  return hostname.slice(hostname.indexOf('.') + 1);
}

/** Files with the secrets that the agent and the gateway start with, made once; the gateway's is for its cluster. */
export async function ensureKeys(api: ApiClient, stateDir: string, cluster: string): Promise<void> {
  const keyFile = join(stateDir, 'agent', 'setup-key');
  if ((await readFileIfThere(keyFile)) === undefined) {
    const key = await api.call('POST', '/api/setup-keys', {
      name: agentName,
      type: 'one-off',
      expires_in: setupKeySeconds,
      usage_limit: 1,
      auto_groups: [],
    });
    await writeFileAtomic(keyFile, `${field(key, 'key')}\n`);
  }
  await ensureGatewayToken(api, join(stateDir, 'gateway', 'token'), cluster);
  const curlFile = join(stateDir, 'curl-header');
  if ((await readFileIfThere(curlFile)) === undefined) {
    const machine = await api.call('POST', '/api/users', { name: 'Sample machine', role: 'user', auto_groups: [], is_service_user: true });
    const token = await api.call('POST', `/api/users/${field(machine, 'id')}/tokens`, { name: 'curl', expires_in: tokenDays });
    await writeFileAtomic(curlFile, `Authorization: Bearer ${field(token, 'plain_token')}\n`);
  }
}

/** Another name of the app may mean another cluster, for which the token of the last start is not good. */
async function ensureGatewayToken(api: ApiClient, file: string, cluster: string): Promise<void> {
  const path = '/api/reverse-proxies/proxy-tokens';
  const made = entries(await api.call('GET', path), 'name', gatewayTokenName).filter((token) => token['revoked'] !== true);
  const fits = made.some((token) => token['cluster'] === cluster || token['cluster'] === undefined);
  if (fits && (await readFileIfThere(file)) !== undefined) return;
  const token = await api.call('POST', path, { name: gatewayTokenName, expires_in: 0, cluster });
  await writeFileAtomic(file, `${field(token, 'plain_token')}\n`);
  for (const old of made) await api.call('DELETE', `${path}/${field(old, 'id')}`);
}

/** Publishes the agent's app under the hostname, once both agent and gateway have joined. */
export async function ensureService(api: ApiClient, options: StartOptions, signal: AbortSignal): Promise<void> {
  const cluster = clusterOf(options);
  const peerId = await waitUntil(
    signal,
    'the agent to join',
    async () => entry(await api.call('GET', `/api/peers?name=${agentName}`), 'name', agentName)?.['id'],
  );
  await waitUntil(
    signal,
    'the gateway to join',
    async () => entry(await api.call('GET', '/api/reverse-proxies/clusters'), 'address', cluster)?.['address'],
  );
  const https = options.upstream?.protocol === 'https';
  const service = {
    name: options.hostname,
    domain: options.hostname,
    mode: 'http',
    enabled: true,
    pass_host_header: true,
    rewrite_redirects: false,
    auth: { bearer_auth: { enabled: true, distribution_groups: [] } },
    targets: [
      {
        target_id: peerId,
        target_type: 'peer',
        path: '/',
        protocol: https ? 'https' : 'http',
        port: https ? 443 : 80,
        enabled: true,
        ...(https ? { options: { skip_tls_verify: true } } : {}),
      },
    ],
  };
  const present = entry(await api.call('GET', '/api/reverse-proxies/services'), 'domain', options.hostname);
  if (present === undefined) await api.call('POST', '/api/reverse-proxies/services', service);
  else if (!leadsTo(present, peerId, https ? 'https' : 'http'))
    await api.call('PUT', `/api/reverse-proxies/services/${String(present['id'])}`, service);
}

function leadsTo(service: Readonly<Record<string, unknown>>, peerId: string, protocol: string): boolean {
  const parsed = parse(list(anyRecord), service['targets']);
  const first = parsed.ok ? parsed.value[0] : undefined;
  return first?.['target_id'] === peerId && first['protocol'] === protocol;
}

async function waitUntil(signal: AbortSignal, what: string, look: () => Promise<unknown>): Promise<string> {
  for (;;) {
    const found = await look().catch((error: unknown) => {
      // A call that the end of the waiting cut short says nothing about what was waited for.
      if (!signal.aborted) throw error;
    });
    if (typeof found === 'string') return found;
    if (signal.aborted) throw startError('START_NOT_READY', `waited for ${what}`);
    await sleep(pollMs, signal);
  }
}

/** Any JSON object: the API's own shapes are its own, and only a few fields matter here. */
const anyRecord: Schema<Readonly<Record<string, unknown>>> = {
  ...object({}),
  read: (input, path, report) => {
    if (typeof input === 'object' && input !== null && !Array.isArray(input)) return Object.fromEntries(Object.entries(input));
    report(path, 'must be an object');
    return undefined;
  },
};

function entries(answer: unknown, key: string, value: string): readonly Readonly<Record<string, unknown>>[] {
  const parsed = parse(list(anyRecord), answer);
  return parsed.ok ? parsed.value.filter((item) => item[key] === value) : [];
}

function entry(answer: unknown, key: string, value: string): Readonly<Record<string, unknown>> | undefined {
  return entries(answer, key, value)[0];
}

function field(answer: unknown, name: string): string {
  const parsed = parse(anyRecord, answer);
  const value = parsed.ok ? parse(string(), parsed.value[name]) : undefined;
  if (value?.ok !== true) throw startError('START_API_REFUSED', `the answer has no ${name}`);
  return value.value;
}
