// Which server and with what token: flags and environment first, then the file that `meshgate setup` writes, then that of `meshgate start` in
// its state directory; both readable by their owner only.
import { homedir } from 'node:os';
import { join } from 'node:path';
import { readFileIfThere, writeFileAtomic } from '#lib/files.ts';
import { isLocalhostName } from '#lib/resolve.ts';
import { object, optional, parse, string } from '#lib/schema.ts';
import { stateDirectory } from './state-dir.ts';
import { cliError } from './errors.ts';
import { readText } from './files.ts';
import type { Io } from './io.ts';

const credentialsSchema = object({ api: string(), token: string({ secret: true }), ca: optional(string()) });

export interface Credentials {
  /** Origin of the server, such as https://mesh.example.com. */
  readonly api: string;
  readonly token: string;
  /** PEM file of a private certificate authority. */
  readonly ca: string | undefined;
}

/** `$XDG_CONFIG_HOME/meshgate/credentials.json`, by default below ~/.config. */
function credentialsPath(env: Io['env']): string {
  const base = env['XDG_CONFIG_HOME'] ?? join(env['HOME'] ?? homedir(), '.config');
  return join(base, 'meshgate', 'credentials.json');
}

export function saveCredentials(env: Io['env'], credentials: Credentials): Promise<string> {
  return writeCredentials(credentialsPath(env), credentials);
}

/** For who runs commands beside a mesh that `meshgate start` made. */
export function saveLocalCredentials(stateDir: string, credentials: Credentials): Promise<string> {
  return writeCredentials(localPath(stateDir), credentials);
}

function localPath(stateDir: string): string {
  return join(stateDir, 'credentials.json');
}

async function writeCredentials(path: string, credentials: Credentials): Promise<string> {
  await writeFileAtomic(path, `${JSON.stringify(credentials, null, 2)}\n`, 0o600);
  return path;
}

async function loadCredentials(path: string): Promise<Credentials | undefined> {
  if ((await readFileIfThere(path)) === undefined) return undefined;
  const { text, shared } = await readText(path);
  if (shared) throw cliError('CLI_FILE', `${path} can be read by others; make it private: chmod 600 ${path}`);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw cliError('CLI_FILE', `${path} is not JSON`);
  }
  const parsed = parse(credentialsSchema, json);
  if (!parsed.ok) throw cliError('CLI_FILE', `${path} is not a credentials file`);
  return parsed.value;
}

/**
 * The origin of a server's URL. Plain http is for this machine only, as the token would travel in the clear. CLI_API_URL for anything else.
 */
export function checkApiUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== '' || url.pathname !== '/' || url.search !== '') {
    throw cliError('CLI_API_URL', `"${text.replace(/\/\/[^/]*@/, '//…@')}" is not https://host[:port]`);
  }
  if (url.protocol === 'http:' && !isOfThisMachine(url)) throw cliError('CLI_API_URL', 'http:// is for this machine only; use https://');
  return url.origin;
}

/** Where to and with what. A stored token goes only to the server it came from. */
export async function findCredentials(io: Io, api: string | undefined, ca: string | undefined): Promise<Credentials> {
  const wanted = api ?? nonEmpty(io.env['MESHGATE_API']);
  const token = nonEmpty(io.env['MESHGATE_TOKEN']);
  const stored = wanted !== undefined && token !== undefined ? undefined : await storedCredentials(io.env);
  const origin = wanted ?? stored?.api;
  if (origin === undefined) throw cliError('CLI_API_URL');
  const checked = checkApiUrl(origin);
  const own = stored !== undefined && stored.api === checked ? stored : undefined;
  const chosen = token ?? own?.token;
  if (chosen === undefined) throw cliError('CLI_NOT_SIGNED_IN', checked);
  return { api: checked, token: chosen, ca: ca ?? nonEmpty(io.env['MESHGATE_CA']) ?? own?.ca };
}

async function storedCredentials(env: Io['env']): Promise<Credentials | undefined> {
  const own = await loadCredentials(credentialsPath(env));
  if (own !== undefined) return own;
  // `meshgate start` makes meshes of this machine only. The state directory may be that of the working directory, which somebody else may have
  // packed: it cannot send anybody to another server.
  const path = localPath(stateDirectory(env));
  const local = await loadCredentials(path);
  if (local !== undefined && !isOfThisMachine(new URL(checkApiUrl(local.api)))) {
    throw cliError('CLI_FILE', `${path} is only for a server of this machine, and names ${checkApiUrl(local.api)}; use --api, or meshgate setup`);
  }
  return local;
}

function isOfThisMachine({ hostname }: URL): boolean {
  return isLocalhostName(hostname) || hostname === '127.0.0.1' || hostname === '[::1]';
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === '' ? undefined : text;
}
