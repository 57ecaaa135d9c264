// The secrets of a service: hashed before the transaction, as that takes long, and joined with what is kept inside it.
import type { ServiceAuth } from '#model/service.ts';
import { passwordDeadlineMs } from './constants.ts';
import type { Context } from './context.ts';
import type { ServiceInput } from './contract.ts';
import { invalid } from './errors.ts';

export interface HashedSecrets {
  readonly password: string | undefined;
  readonly pin: string | undefined;
  /** In the order of the request's headers. */
  readonly headers: readonly (string | undefined)[];
  /** In the order of the request's users. */
  readonly basic: readonly (string | undefined)[];
}

export async function hashSecrets(context: Context, auth: ServiceInput['auth']): Promise<HashedSecrets> {
  const hash = async (plain: string | undefined): Promise<string | undefined> =>
    plain === undefined ? undefined : await context.hasher.hash(plain, AbortSignal.timeout(passwordDeadlineMs));
  const password = await hash(auth.password?.password);
  const pin = await hash(auth.pin?.pin);
  const headers: (string | undefined)[] = [];
  for (const header of auth.headers) headers.push(await hash(header.value));
  const basic: (string | undefined)[] = [];
  for (const user of auth.basic?.users ?? []) basic.push(await hash(user.password?.normalize('NFC')));
  return { password, pin, headers, basic };
}

/** A secret that the request leaves out keeps its old hash; where there is none, it is missing. */
export function joinAuth(input: ServiceInput['auth'], hashed: HashedSecrets, old: ServiceAuth | undefined): ServiceAuth {
  const keep = (hash: string | undefined, enabled: boolean, what: string): { readonly enabled: boolean; readonly hash: string } | undefined => {
    if (hash === undefined && enabled) throw invalid(`${what} is missing.`);
    return hash === undefined ? undefined : { enabled, hash };
  };
  return {
    oidc: { enabled: input.oidc.enabled, groups: [...new Set(input.oidc.groups)] },
    password: input.password && keep(hashed.password ?? old?.password?.hash, input.password.enabled, 'The password'),
    pin: input.pin && keep(hashed.pin ?? old?.pin?.hash, input.pin.enabled, 'The PIN'),
    headers: input.headers.flatMap(({ enabled, header, keep: goesOn = false }, index) => {
      const before = old?.headers.find((entry) => entry.header.toLowerCase() === header.toLowerCase());
      const kept = keep(hashed.headers[index] ?? before?.hash, enabled, `The value of the header ${header}`);
      return kept === undefined ? [] : [{ ...kept, header, ...(goesOn ? { keep: goesOn } : {}) }];
    }),
    ...(input.link === undefined ? {} : { link: { enabled: input.link.enabled } }),
    ...(input.basic === undefined ? {} : { basic: joinBasic(input.basic, hashed.basic, old?.basic) }),
  };
}

function joinBasic(
  { enabled, users }: NonNullable<ServiceInput['auth']['basic']>,
  hashed: HashedSecrets['basic'],
  old: ServiceAuth['basic'],
): NonNullable<ServiceAuth['basic']> {
  const withHash = users.map(({ name }, index) => {
    const hash = hashed[index] ?? old?.users.find((user) => user.name === name)?.hash;
    if (hash === undefined) throw invalid(`The password of the user ${name} is missing.`);
    return { name, hash };
  });
  return { enabled, users: withHash };
}
