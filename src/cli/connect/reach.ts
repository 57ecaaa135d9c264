// What commands that go to a published port have in common: their flags, and which of its ways in they take.
import { MeshgateError } from '#lib/errors.ts';
import { parseHostPort } from '#lib/net.ts';
import { type ApiClient, openApi } from '../api-client.ts';
import type { Flags, Input } from '../command.ts';
import { findCredentials } from '../credentials.ts';
import { cliError } from '../errors.ts';
import { readSecret, readText } from '../files.ts';
import type { Io } from '../io.ts';
import { OwnCertificate } from './own-certificate.ts';
import { PublishedPort, type PublishedPortOptions } from './published-port.ts';

export const connectFlags: Flags = {
  'token-file': {
    kind: 'text',
    value: 'FILE',
    about:
      'token of a service user, shown at the service’s page to unlock its port; else MESHGATE_CONNECT_TOKEN; else a certificate of who is signed in here (meshgate login), where the service takes those; else somebody signs in there with a browser',
  },
  tls: { kind: 'switch', about: 'speak TLS to the service, for programs here that do not' },
  'cert-file': { kind: 'text', value: 'FILE', about: 'with --tls: PEM certificate to show, for services that ask clients for one' },
  'key-file': { kind: 'text', value: 'FILE', about: 'its PEM private key' },
  'page-port': { kind: 'integer', value: 'N', about: 'HTTPS port of that page (default 443)' },
  ca: { kind: 'text', value: 'FILE', about: 'PEM file of the gateway’s private certificate authority; else MESHGATE_CA' },
  api: { kind: 'text', value: 'URL', about: 'the server that makes certificates; else MESHGATE_API, else the one of meshgate login or setup' },
};

/** The API for who is signed in here; undefined where nobody is. */
export async function ownApi(input: Input, io: Io): Promise<ApiClient | undefined> {
  try {
    const found = await findCredentials(io, input.text('api'), undefined);
    return await openApi({ ...found, ca: found.ca ?? input.text('ca') }, io.stop);
  } catch (error) {
    const nobody = error instanceof MeshgateError && ['CLI_API_URL', 'CLI_NOT_SIGNED_IN'].includes(error.code);
    if (nobody && input.text('api') === undefined) return undefined;
    throw error;
  }
}

/** NAME or NAME:PORT. */
export function placeOf(input: Input): { readonly host: string; readonly port: number | undefined } {
  const place = parseHostPort(input.positionals[0] ?? '', 0);
  if (place === undefined) throw cliError('CLI_USAGE', 'NAME is the domain of a service, with :PORT where nothing else says it');
  return { host: place.host, port: place.port === 0 ? undefined : place.port };
}

/** The port that the input names, with the best way in that there is. `api` stays the caller's to close. */
export async function publishedPort(input: Input, io: Io, api: ApiClient | undefined): Promise<PublishedPort> {
  const { host, port } = placeOf(input);
  const caFile = input.text('ca') ?? (io.env['MESHGATE_CA'] || undefined);
  const tokenFile = input.text('token-file');
  const token = tokenFile === undefined ? io.env['MESHGATE_CONNECT_TOKEN'] || undefined : await readSecret(io, 'Token', tokenFile);
  const given = await tlsOf(input);
  const own = token === undefined && given === undefined && api !== undefined ? await OwnCertificate.mint(api, host, port) : undefined;
  if (token === undefined && port === undefined && own?.port === undefined)
    throw cliError('CLI_USAGE', 'without a token or a certificate say which port: NAME:PORT');
  return await PublishedPort.find({
    domain: host,
    pagePort: input.integer('page-port') ?? 443,
    port: port ?? own?.port,
    ca: caFile === undefined ? undefined : (await readText(caFile)).text,
    tls: own === undefined ? given : () => own.current(),
    token,
  });
}

async function tlsOf(input: Input): Promise<PublishedPortOptions['tls']> {
  const [certFile, keyFile] = [input.text('cert-file'), input.text('key-file')];
  if ((certFile === undefined) !== (keyFile === undefined)) throw cliError('CLI_USAGE', '--cert-file and --key-file belong together');
  if (!input.on('tls') && certFile !== undefined) throw cliError('CLI_USAGE', 'a certificate is shown with --tls');
  if (!input.on('tls')) return undefined;
  if (certFile === undefined || keyFile === undefined) return () => Promise.resolve(undefined);
  const pair = { cert: (await readText(certFile)).text, key: (await readText(keyFile)).text };
  return () => Promise.resolve(pair);
}
