// SSH user certificates of whoever is signed in here: one key for each service, made here and readable by its owner only, with a certificate that
// is made anew before it ends.
import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describeError } from '#lib/errors.ts';
import { readFileIfThere, writeFileAtomic } from '#lib/files.ts';
import type { ApiClient } from '../api-client.ts';
import { hostKeyMs, sshCertificateLeftMs } from '../constants.ts';
import { cliError } from '../errors.ts';
import { asRows } from '../api-command.ts';
import type { Io } from '../io.ts';
import { field } from '../output.ts';
import { unlessNone } from './own-certificate.ts';

const run = promisify(execFile);

export interface SshCertificate {
  readonly keyFile: string;
  readonly certFile: string;
  /** As whom it is good there. */
  readonly principals: readonly string[];
}

/** Of our SSH files. */
export function sshFolder(io: Io): string {
  return join(io.env['HOME'] ?? homedir(), '.ssh');
}

/**
 * Makes sure that a certificate for the service is at hand, good for five minutes at least. Undefined where the server knows no such service, or
 * makes no SSH certificates for it; then what was there is left alone.
 */
export async function ensureSshCertificate(api: ApiClient, io: Io, service: string, port: number | undefined): Promise<SshCertificate | undefined> {
  if (!/^[a-z0-9.-]+$/i.test(service)) throw cliError('CLI_USAGE', 'NAME is the domain of a service');
  const folder = join(sshFolder(io), 'meshgate');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const keyFile = join(folder, port === undefined ? service : `${service}-${port}`);
  const certFile = `${keyFile}-cert.pub`;
  const noteFile = `${keyFile}.json`;
  const kept = await keptOf(noteFile);
  if (kept !== undefined && kept.expiresAt - Date.now() > sshCertificateLeftMs && (await readFileIfThere(certFile)) !== undefined)
    return { keyFile, certFile, principals: kept.principals };
  if ((await readFileIfThere(keyFile)) === undefined) await makeKey(keyFile);
  const publicKey = (await readFileIfThere(`${keyFile}.pub`)) ?? '';
  const body = { service, ...(port === undefined ? {} : { port }), public_key: publicKey.trim().split(' ').slice(0, 2).join(' ') };
  const answer = await api.call('POST', '/api/certificates/ssh', body).catch(unlessNone);
  if (answer === undefined) return undefined;
  const certificate = field(answer, 'certificate');
  const expiresAt = Date.parse(field(answer, 'expires_at'));
  if (certificate === '' || Number.isNaN(expiresAt)) throw cliError('CLI_API_REFUSED', 'the answer has no certificate');
  const principals = asRows((answer as { readonly principals?: unknown }).principals).map(String);
  await writeFileAtomic(certFile, `${certificate}\n`, 0o600);
  await writeFileAtomic(noteFile, `${JSON.stringify({ expiresAt, principals })}\n`, 0o600);
  return { keyFile, certFile, principals };
}

async function makeKey(path: string): Promise<void> {
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'meshgate', '-f', path], { timeout: 2 * hostKeyMs }).catch((error: unknown) => {
    throw cliError('CLI_CONNECT', `ssh-keygen: ${describeError(error)}`, error);
  });
}

async function keptOf(path: string): Promise<{ readonly expiresAt: number; readonly principals: readonly string[] } | undefined> {
  try {
    const kept: unknown = JSON.parse((await readFileIfThere(path)) ?? '');
    if (typeof kept !== 'object' || kept === null || !('expiresAt' in kept) || !('principals' in kept)) return undefined;
    const { expiresAt, principals } = kept;
    return typeof expiresAt === 'number' && Array.isArray(principals) ? { expiresAt, principals: principals.map(String) } : undefined;
  } catch {
    return undefined; // it is made anew
  }
}
