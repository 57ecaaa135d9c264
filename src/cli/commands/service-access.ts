// Who may use a service, as flags of `service create` and `service update` say it. Secrets come from files: arguments can be read by others.
import type { ApiSession } from '../api-command.ts';
import type { Flag } from '../command.ts';
import { cliError } from '../errors.ts';
import { readText } from '../files.ts';

export const accessFlags = {
  'password-file': { kind: 'text', value: 'FILE', about: 'one password opens it: the first line of this file' },
  'pin-file': { kind: 'text', value: 'FILE', about: 'one PIN of 6 to 12 digits opens it: the first line of this file' },
  'basic-file': { kind: 'text', value: 'FILE', about: 'basic authentication: a NAME:PASSWORD on each line of this file' },
  links: { kind: 'switch', about: 'share links open it (`meshgate service share`)' },
  proofs: { kind: 'text', value: 'PROOFS', about: 'what is asked for together, alternatives by commas, such as "oidc+pin,token"; default: any one' },
  devices: { kind: 'switch', about: 'users pair apps that cannot sign in, at https://DOMAIN/.meshgate/devices' },
} as const satisfies Readonly<Record<string, Flag>>;

type Fields = Readonly<Record<string, unknown>>;

/** The parts of a service that the flags name, over what was there. Undefined where they name none. */
export async function accessFromFlags(
  { input }: ApiSession,
  before: { readonly auth?: unknown; readonly access?: unknown },
): Promise<Fields | undefined> {
  const auth = {
    ...(await secretOf(input.text('password-file'), (password) => ({ password_auth: { enabled: true, password } }))),
    ...(await secretOf(input.text('pin-file'), (pin) => ({ pin_auth: { enabled: true, pin } }))),
    ...(await basicOf(input.text('basic-file'))),
    ...(input.on('links') ? { link_auth: { enabled: true } } : {}),
  };
  const proofs = input.text('proofs');
  const access = {
    ...(proofs === undefined ? {} : { proofs: proofs.split(',').map((all) => all.split('+').map((kind) => kind.trim())) }),
    ...(input.on('devices') ? { devices: true } : {}),
  };
  const named = {
    ...(Object.keys(auth).length === 0 ? {} : { auth: { ...fieldsOf(before.auth), ...auth } }),
    ...(Object.keys(access).length === 0 ? {} : { access: { ...fieldsOf(before.access), ...access } }),
  };
  return Object.keys(named).length === 0 ? undefined : named;
}

function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : {};
}

async function secretOf(file: string | undefined, make: (secret: string) => Fields): Promise<Fields> {
  if (file === undefined) return {};
  const [line = ''] = (await readText(file)).text.split(/\r?\n/);
  if (line === '') throw cliError('CLI_FILE', `${file}: its first line is empty`);
  return make(line);
}

async function basicOf(file: string | undefined): Promise<Fields> {
  if (file === undefined) return {};
  const lines = (await readText(file)).text.split(/\r?\n/).filter((line) => line !== '');
  const users = lines.map((line, i) => {
    const colon = line.indexOf(':');
    if (colon < 1) throw cliError('CLI_FILE', `${file}: line ${i + 1} is not NAME:PASSWORD`);
    return { name: line.slice(0, colon), password: line.slice(colon + 1) };
  });
  return { basic_auth: { enabled: true, users } };
}
