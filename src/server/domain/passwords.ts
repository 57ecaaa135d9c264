// What users' e-mail addresses and passwords must look like.
import { passwordDeadlineMs, passwordMinLength } from './constants.ts';
import type { Context } from './context.ts';
import { invalid } from './errors.ts';
import { randomText } from './ids.ts';

const maxEmail = 254;
const alphabet = 'abcdefghijkmnopqrstuvwxyz23456789ABCDEFGHJKLMNPQRSTUVWXYZ-_+=:.,';

/** The address as it is stored and compared: lower case, no blanks around it. */
export function checkEmail(email: string): string {
  const canonical = email.trim().toLowerCase();
  if (canonical.length > maxEmail || !/^[^\s@\p{Cc}]+@[^\s@\p{Cc}]+$/u.test(canonical)) throw invalid('This is not an e-mail address.');
  return canonical;
}

/** Hashes a password that is long enough; CRYPTO_PASSWORD_SIZE where it is too long, CRYPTO_BUSY where too many wait. */
export async function hashPassword(context: Context, password: string): Promise<string> {
  if (password.length < passwordMinLength) throw invalid(`The password must have at least ${passwordMinLength} characters.`);
  return await context.hasher.hash(password, AbortSignal.timeout(passwordDeadlineMs));
}

/** 16 characters, 96 bits. */
export function generatePassword(context: Context): string {
  return randomText(context.random, alphabet, 16);
}
