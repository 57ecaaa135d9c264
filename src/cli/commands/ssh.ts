// SSH services: the entry for ~/.ssh/config, certificates made at login, and ssh itself with both.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { writeFileAtomic } from '#lib/files.ts';
import type { ApiClient } from '../api-client.ts';
import { apiCommand, done, printTable, asRows } from '../api-command.ts';
import { parseInput } from '../args.ts';
import type { AnyCommand, Command, Flags, Input, RawCommand } from '../command.ts';
import { cliError } from '../errors.ts';
import { commandHelp } from '../help.ts';
import type { Io } from '../io.ts';
import { field } from '../output.ts';
import { connectFlags, ownApi, placeOf, publishedPort } from '../connect/reach.ts';
import { ensureSshCertificate, type SshCertificate, sshFolder } from '../connect/ssh-certificate.ts';
import { pinHostKey, pinnedAt, sshEntry } from '../connect/ssh-entry.ts';

const entryFlags: Flags = {
  user: { kind: 'text', value: 'USER', about: 'who to be there (default: the first name in the certificate)' },
  'host-key-file': { kind: 'text', value: 'FILE', about: 'its public host key, copied from the server; else what it shows now is believed' },
  'known-hosts': { kind: 'text', value: 'FILE', about: 'where keys are pinned (default ~/.ssh/meshgate_known_hosts)' },
  ...connectFlags,
};

/** The lines of the entry, with the host key pinned; `again` pins it though it is. */
async function prepare(input: Input, io: Io, again: boolean): Promise<{ readonly name: string; readonly lines: readonly string[] }> {
  const api = await ownApi(input, io);
  try {
    const published = await publishedPort(input, io, api);
    try {
      const certificate = await certificateFor(api, input, io);
      const [keyFile, pinsFile] = [input.text('host-key-file'), input.text('known-hosts')];
      const known = again || keyFile !== undefined ? undefined : await pinnedAt(published.domain, pinsFile, io);
      const pins = known ?? (await pinHostKey(published, keyFile, pinsFile, io));
      return { name: published.domain, lines: sshEntry(published.domain, pins, certificate, input) };
    } finally {
      await published.close();
    }
  } finally {
    await api?.close();
  }
}

async function certificateFor(api: ApiClient | undefined, input: Input, io: Io): Promise<SshCertificate | undefined> {
  const { host, port } = placeOf(input);
  return api === undefined ? undefined : await ensureSshCertificate(api, io, host, port);
}

const sshConfig: Command = {
  name: 'ssh-config',
  summary: 'pin the host key of an SSH service and print its entry for ~/.ssh/config, with a certificate where one is made',
  positionals: ['NAME'],
  flags: entryFlags,
  async run(input, io) {
    for (const line of (await prepare(input, io, true)).lines) io.out(line);
    return 0;
  },
};

const sshCertificate: Command = {
  name: 'ssh-certificate',
  summary: 'make sure that a certificate for an SSH service is at hand, as its entry in ~/.ssh/config asks with every use',
  positionals: ['NAME'],
  flags: { ca: connectFlags['ca'] ?? { kind: 'text', about: '' }, api: connectFlags['api'] ?? { kind: 'text', about: '' } },
  async run(input, io) {
    const api = await ownApi(input, io);
    if (api === undefined) throw cliError('CLI_NOT_SIGNED_IN');
    try {
      const certificate = await certificateFor(api, input, io);
      if (certificate === undefined) throw cliError('CLI_NOT_FOUND', `no SSH certificates are made for ${placeOf(input).host}`);
      io.err(certificate.certFile);
      return 0;
    } finally {
      await api.close();
    }
  },
};

const ssh: RawCommand = {
  name: 'ssh',
  summary: 'run ssh to an SSH service with a certificate made now: ssh NAME [flags] [-- COMMAND or flags of ssh]',
  async runRaw(args, io) {
    const end = args.indexOf('--');
    const [ours, theirs] = end < 0 ? [args, []] : [args.slice(0, end), args.slice(end + 1)];
    const input = parseInput(ours, entryFlags, ['NAME']);
    if (input.on('help')) {
      for (const line of [commandHelp({ ...sshConfig, name: 'ssh', summary: ssh.summary }, entryFlags)]) io.out(line);
      return 0;
    }
    const { name, lines } = await prepare(input, io, false);
    const file = join(sshFolder(io), 'meshgate', `${name}.config`);
    await writeFileAtomic(file, `${lines.join('\n')}\n`, 0o600);
    const child = spawn('ssh', ['-F', file, name, ...theirs], { stdio: 'inherit' });
    return await new Promise<number>((done, failed) => {
      child.once('error', (error) => failed(cliError('CLI_CONNECT', 'ssh cannot be run; is it installed?', error)));
      child.once('close', (code) => done(code ?? 255));
    });
  },
};

const sshCa = apiCommand({
  name: 'ssh-ca',
  summary: 'print the line for TrustedUserCAKeys of SSH servers that trust certificates made here',
  async run(session) {
    const authorities = await session.api.call('GET', '/api/certificates/authorities');
    done(session, field(authorities, 'ssh'), authorities);
  },
});

const minted = '/api/certificates';

const certificateList = apiCommand({
  name: 'user-certificate list',
  summary: 'list certificates that users have for services now',
  flags: { own: { kind: 'switch', about: 'only one’s own' } },
  async run(session) {
    const rows = asRows(await session.api.call('GET', `${minted}${session.input.on('own') ? '?scope=own' : ''}`));
    printTable(session, rows, rows, { ID: 'id', KIND: 'kind', USER: 'user_email', SERVICE: 'domain', MADE: 'created_at', ENDS: 'expires_at' });
  },
});

const certificateRevoke = apiCommand({
  name: 'user-certificate revoke',
  summary: 'revoke a certificate: at gateways it opens nothing more, and what is open is closed; SSH servers do not hear of it',
  positionals: ['CERTIFICATE'],
  async run(session) {
    const id = session.input.positionals[0] ?? '';
    done(session, `revoked ${id}`, await session.api.call('DELETE', `${minted}/${encodeURIComponent(id)}`));
  },
});

export const sshCommands: readonly AnyCommand[] = [ssh, sshConfig, sshCertificate, sshCa, certificateList, certificateRevoke];
