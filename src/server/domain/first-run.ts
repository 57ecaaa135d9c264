// The first set-up: whoever reads the server's own output may make the owner, nobody else.
import { createHash } from 'node:crypto';
import { equalBytes } from '#lib/bytes.ts';
import type { UserId } from '#model/ids.ts';
import type { User } from '#model/identity.ts';
import type { Attempts } from './attempts.ts';
import { write, type Context } from './context.ts';
import type { UserUseCases } from './contract.ts';
import { checkName } from './checks.ts';
import { domainError } from './errors.ts';
import { newId, randomText } from './ids.ts';
import { checkEmail, hashPassword } from './passwords.ts';

/** 32 characters that are not mistaken for each other: 20 of them are 100 bits. */
const alphabet = 'ABCDEFGHJKLMNPQRSTUVWXYZ23456789';

/** The name under which wrong codes are counted; no e-mail address looks like it. */
const attemptName = 'first set-up';

export function firstRunUseCases(context: Context, attempts: Attempts): Pick<UserUseCases, 'setupRequired' | 'setupCode' | 'setup'> {
  const { store, random } = context;
  const code = randomText(random, alphabet, 20).replaceAll(/(.{5})(?!$)/g, '$1-');
  const required = async (): Promise<boolean> => !(await store.tables.users.hasOwner());
  return {
    setupRequired: required,

    async setupCode() {
      return (await required()) ? code : undefined;
    },

    async setup(request) {
      if (!(await required())) throw domainError('DOMAIN_SETUP_DONE');
      attempts.begin(attemptName);
      if (!sameText(canonical(request.code), canonical(code))) throw domainError('DOMAIN_SETUP_CODE_WRONG');
      attempts.succeeded(attemptName);
      const email = checkEmail(request.email);
      const name = checkName(request.name, 'The name');
      const password = await hashPassword(context, request.password);
      return await write(context, async ({ tables, now, audit }) => {
        if (await tables.users.hasOwner()) throw domainError('DOMAIN_SETUP_DONE');
        if ((await tables.users.findBySubject('local', email)) !== undefined) throw domainError('DOMAIN_USER_EMAIL_TAKEN');
        const user: User = {
          id: newId<UserId>(random),
          email,
          name,
          role: 'owner',
          blocked: false,
          service: false,
          autoGroups: [],
          connector: 'local',
          createdAt: now,
          lastLogin: undefined,
        };
        await tables.users.insert(user, email, password);
        await audit('account.setup', { kind: 'user', id: user.id }, user.id, { email });
        return user;
      });
    },
  };
}

/** As people type it: any case, with or without hyphens and blanks. */
function canonical(code: string): string {
  return code.toUpperCase().replaceAll(/[\s-]/g, '');
}

/** Compares digests, so that the time says nothing about the text. */
function sameText(a: string, b: string): boolean {
  const digest = (text: string): Uint8Array => createHash('sha256').update(text, 'utf8').digest();
  return equalBytes(digest(a), digest(b));
}
