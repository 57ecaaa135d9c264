// `meshgate connect` and `meshgate ssh-config`: TCP and TLS services with sign-in, for programs that only know how to open a connection.
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { readFileIfThere, writeFileAtomic } from '#lib/files.ts';
import { parseHostPort } from '#lib/net.ts';
import type { Command, Flags, Input } from '../command.ts';
import { hostKeyOf, scanHostKeys } from '../connect/host-key.ts';
import { joinStdio, listenLocally } from '../connect/local-port.ts';
import { PublishedPort } from '../connect/published-port.ts';
import { cliError } from '../errors.ts';
import { readSecret, readText } from '../files.ts';
import type { Io } from '../io.ts';
import { clean } from '../output.ts';
import { closeInTime } from '../processes.ts';

const connectFlags: Flags = {
  'token-file': {
    kind: 'text',
    value: 'FILE',
    about:
      'token of a service user, shown at the service’s page to unlock its port; else MESHGATE_CONNECT_TOKEN; else somebody signs in there with a browser',
  },
  tls: { kind: 'switch', about: 'speak TLS to the service, for programs here that do not' },
  'cert-file': { kind: 'text', value: 'FILE', about: 'with --tls: PEM certificate to show, for services that ask clients for one' },
  'key-file': { kind: 'text', value: 'FILE', about: 'its PEM private key' },
  'page-port': { kind: 'integer', value: 'N', about: 'HTTPS port of that page (default 443)' },
  ca: { kind: 'text', value: 'FILE', about: 'PEM file of the gateway’s private certificate authority; else MESHGATE_CA' },
};

async function publishedPort(input: Input, io: Io): Promise<PublishedPort> {
  const [name = ''] = input.positionals;
  const place = parseHostPort(name, 0);
  if (place === undefined) throw cliError('CLI_USAGE', 'NAME is the domain of a service, with :PORT where no token is shown');
  const caFile = input.text('ca') ?? (io.env['MESHGATE_CA'] || undefined);
  const tokenFile = input.text('token-file');
  const token = tokenFile === undefined ? io.env['MESHGATE_CONNECT_TOKEN'] || undefined : await readSecret(io, 'Token', tokenFile);
  const published = await PublishedPort.find({
    domain: place.host,
    pagePort: input.integer('page-port') ?? 443,
    port: place.port === 0 ? undefined : place.port,
    ca: caFile === undefined ? undefined : (await readText(caFile)).text,
    tls: await tlsOf(input),
    token,
  });
  if (token === undefined && place.port === 0) throw cliError('CLI_USAGE', 'without a token say which port: NAME:PORT');
  return published;
}

async function tlsOf(input: Input): Promise<{ readonly cert: string | undefined; readonly key: string | undefined } | undefined> {
  const [certFile, keyFile] = [input.text('cert-file'), input.text('key-file')];
  if ((certFile === undefined) !== (keyFile === undefined)) throw cliError('CLI_USAGE', '--cert-file and --key-file belong together');
  if (!input.on('tls') && certFile !== undefined) throw cliError('CLI_USAGE', 'a certificate is shown with --tls');
  if (!input.on('tls')) return undefined;
  const [cert, key] = await Promise.all([certFile, keyFile].map(async (path) => (path === undefined ? undefined : (await readText(path)).text)));
  return { cert, key };
}

const connect: Command = {
  name: 'connect',
  summary: 'listen on 127.0.0.1 for a TCP or TLS service with sign-in, and carry what connects there',
  positionals: ['NAME'],
  flags: {
    listen: { kind: 'integer', value: 'N', about: 'the port on 127.0.0.1 (default: one that is free)' },
    stdio: { kind: 'switch', about: 'one connection over standard input and output instead, as ProxyCommand of ssh wants it' },
    ...connectFlags,
  },
  async run(input, io) {
    const published = await publishedPort(input, io);
    try {
      if (input.on('stdio')) {
        await joinStdio(published, io.stop);
        return 0;
      }
      await published.unlock(io.stop); // what is wrong with the token is said before anybody connects
      const failed = (reason: string): void => io.err(clean(reason));
      const local = await listenLocally(published, input.integer('listen') ?? 0, failed, io.stop);
      io.out(`127.0.0.1:${local.port}`);
      io.err(`leads to ${published.domain}; Ctrl-C ends it`);
      await new Promise<void>((done) => (io.stop.aborted ? done() : io.stop.addEventListener('abort', () => done(), { once: true })));
      return await closeInTime(local, io);
    } finally {
      await published.close();
    }
  },
};

const sshConfig: Command = {
  name: 'ssh-config',
  summary: 'pin the host key of an SSH service and print its entry for ~/.ssh/config',
  positionals: ['NAME'],
  flags: {
    user: { kind: 'text', value: 'USER', about: 'who to be there' },
    'host-key-file': { kind: 'text', value: 'FILE', about: 'its public host key, copied from the server; else what it shows now is believed' },
    'known-hosts': { kind: 'text', value: 'FILE', about: 'where keys are pinned (default ~/.ssh/meshgate_known_hosts)' },
    ...connectFlags,
  },
  async run(input, io) {
    const published = await publishedPort(input, io);
    try {
      const file = input.text('host-key-file');
      const keys = file === undefined ? await shownKeys(published, io) : [await hostKeyOf(file)];
      const pins = resolve(input.text('known-hosts') ?? join(io.env['HOME'] ?? homedir(), '.ssh', 'meshgate_known_hosts'));
      await pin(pins, published.domain, keys);
      if (file === undefined) io.err('the key that it showed now is pinned; compare it with the server’s own, or give it with --host-key-file');
      for (const line of entry(published.domain, pins, input)) io.out(line);
      return 0;
    } finally {
      await published.close();
    }
  },
};

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

function entry(name: string, pins: string, input: Input): readonly string[] {
  const user = input.text('user');
  const flags = ['token-file', 'ca', 'cert-file', 'key-file'].flatMap((flag) => {
    const path = input.text(flag);
    return path === undefined ? [] : [`--${flag}`, quoted(resolve(path))];
  });
  const pagePort = input.integer('page-port');
  const target = quoted(input.positionals[0] ?? name);
  const tls = input.on('tls') ? ['--tls'] : [];
  const command = [quoted(process.execPath), quoted(process.argv[1] ?? 'meshgate'), 'connect', '--stdio', target, ...tls, ...flags];
  return [
    `Host ${name}`,
    ...(user === undefined ? [] : [`  User ${quoted(user)}`]),
    `  ProxyCommand ${[...command, ...(pagePort === undefined ? [] : ['--page-port', String(pagePort)])].join(' ')}`,
    `  HostKeyAlias ${name}`,
    `  UserKnownHostsFile ${quoted(pins)}`,
    '  GlobalKnownHostsFile none',
    '  StrictHostKeyChecking yes',
  ];
}

/** One word of ssh's configuration and of the shell behind ProxyCommand. CLI_USAGE where that cannot be had. */
function quoted(text: string): string {
  if (/["'`$\\%\n]/.test(text)) throw cliError('CLI_USAGE', `${clean(text)} has signs in it that ssh and the shell read in their own way`);
  return /^[A-Za-z0-9_./:@-]+$/.test(text) ? text : `"${text}"`;
}

export const connectCommands: readonly Command[] = [connect, sshConfig];
