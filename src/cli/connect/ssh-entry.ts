// The entry of ~/.ssh/config for an SSH service: its host key pinned, its way through the gateway, and the certificate where one is made for it.
import { join, resolve } from 'node:path';
import { readFileIfThere, writeFileAtomic } from '#lib/files.ts';
import type { Input } from '../command.ts';
import { cliError } from '../errors.ts';
import type { Io } from '../io.ts';
import { clean } from '../output.ts';
import { hostKeyOf, scanHostKeys } from './host-key.ts';
import { listenLocally } from './local-port.ts';
import type { PublishedPort } from './published-port.ts';
import { type SshCertificate, sshFolder } from './ssh-certificate.ts';

/** Pins the service's host key: that of `file`, or what it shows now. Returns where. */
export async function pinHostKey(published: PublishedPort, file: string | undefined, pinsFile: string | undefined, io: Io): Promise<string> {
  const keys = file === undefined ? await shownKeys(published, io) : [await hostKeyOf(file)];
  const pins = resolve(pinsFile ?? join(sshFolder(io), 'meshgate_known_hosts'));
  await pin(pins, published.domain, keys);
  if (file === undefined) io.err('the key that it showed now is pinned; compare it with the server’s own, or give it with --host-key-file');
  return pins;
}

/** Where the service's key is pinned; undefined where it is not. */
export async function pinnedAt(name: string, pinsFile: string | undefined, io: Io): Promise<string | undefined> {
  const pins = resolve(pinsFile ?? join(sshFolder(io), 'meshgate_known_hosts'));
  return ((await readFileIfThere(pins)) ?? '').split('\n').some((line) => line.startsWith(`${name} `)) ? pins : undefined;
}

async function shownKeys(published: PublishedPort, io: Io): Promise<readonly string[]> {
  const failed: string[] = [];
  const local = await listenLocally(published, 0, (reason) => failed.push(reason), io.stop);
  try {
    return await scanHostKeys(local.port);
  } catch (error) {
    throw failed[0] === undefined ? error : cliError('CLI_CONNECT', failed[0], error);
  } finally {
    await local.close();
  }
}

/** What was pinned for the name before is replaced; the rest of the file stays. */
async function pin(path: string, name: string, keys: readonly string[]): Promise<void> {
  const before = ((await readFileIfThere(path)) ?? '').split('\n').filter((line) => line !== '' && !line.startsWith(`${name} `));
  await writeFileAtomic(path, `${[...before, ...keys.map((key) => `${name} ${key}`)].join('\n')}\n`);
}

/** The lines of the entry. CLI_USAGE where something in it cannot be written so that ssh reads it as it is. */
export function sshEntry(name: string, pins: string, certificate: SshCertificate | undefined, input: Input): readonly string[] {
  const user = input.text('user') ?? certificate?.principals[0];
  const flags = (names: readonly string[]): readonly string[] =>
    names.flatMap((flag) => {
      const text = input.text(flag);
      return text === undefined ? [] : [`--${flag}`, flag === 'api' ? text : resolve(text)];
    });
  const pagePort = input.integer('page-port');
  const target = input.positionals[0] ?? name;
  const tool = [process.execPath, process.argv[1] ?? 'meshgate'];
  const tls = input.on('tls') ? ['--tls'] : [];
  const page = pagePort === undefined ? [] : ['--page-port', String(pagePort)];
  const proxy = [...tool, 'connect', '--stdio', target, ...tls, ...flags(['token-file', 'ca', 'cert-file', 'key-file', 'api']), ...page];
  const renew = [...tool, 'ssh-certificate', target, ...flags(['ca', 'api'])];
  return [
    // Asked with every use: makes the certificate anew where it is about to end.
    ...(certificate === undefined ? [] : [`Match originalhost ${name} exec "${renew.map(single).join(' ')}"`]),
    `Host ${name}`,
    ...(user === undefined ? [] : [`  User ${quoted(user)}`]),
    ...(certificate === undefined
      ? []
      : [`  IdentityFile ${quoted(certificate.keyFile)}`, `  CertificateFile ${quoted(certificate.certFile)}`, '  IdentitiesOnly yes']),
    `  ProxyCommand ${proxy.map(quoted).join(' ')}`,
    `  HostKeyAlias ${name}`,
    `  UserKnownHostsFile ${quoted(pins)}`,
    '  GlobalKnownHostsFile none',
    '  StrictHostKeyChecking yes',
  ];
}

/** One word of ssh's configuration and of the shell behind ProxyCommand. CLI_USAGE where that cannot be had. */
function quoted(text: string): string {
  return checked(text) ? text : `"${text}"`;
}

/** One word of the shell within a word of ssh's configuration. */
function single(text: string): string {
  return checked(text) ? text : `'${text}'`;
}

/** Whether it needs no quotes. */
function checked(text: string): boolean {
  if (/["'`$\\%\n]/.test(text)) throw cliError('CLI_USAGE', `${clean(text)} has signs in it that ssh and the shell read in their own way`);
  return /^[A-Za-z0-9_./:@-]+$/.test(text);
}
