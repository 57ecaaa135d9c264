// Time-based one-time passwords (RFC 6238): HMAC-SHA-1, six digits, steps of 30 s, which is what every authenticator app knows.
import { createHmac } from 'node:crypto';

/** RFC 4226 §4 asks for 128 bits at least and recommends 160. */
export const totpSecretBytes = 20;
const totpDigits = 6;
const totpStepSeconds = 30;

/** The step that a time in milliseconds since 1970 is in. */
export function totpStep(wallMs: number): number {
  return Math.floor(wallMs / 1000 / totpStepSeconds);
}

/** The code of a step (RFC 4226 §5.3). */
export function totpCode(secret: Uint8Array, step: number): string {
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(step));
  const mac = createHmac('sha1', secret).update(counter).digest();
  const at = (mac[mac.length - 1] ?? 0) & 0x0f;
  return String((mac.readUInt32BE(at) & 0x7fffffff) % 10 ** totpDigits).padStart(totpDigits, '0');
}

const base32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** Base 32 without padding (RFC 4648 §6), as apps take secrets. */
export function encodeBase32(bytes: Uint8Array): string {
  let text = '';
  let held = 0;
  let bits = 0;
  for (const byte of bytes) {
    held = ((held << 8) | byte) & 0xfff;
    bits += 8;
    for (; bits >= 5; bits -= 5) text += base32[(held >> (bits - 5)) & 31] ?? '';
  }
  return bits === 0 ? text : text + (base32[(held << (5 - bits)) & 31] ?? '');
}

/** What an app reads from a QR code or a link: whose code it is, where, and the secret. */
export function totpUri(issuer: string, account: string, secret: Uint8Array): string {
  const label = `${encodeURIComponent(issuer)}:${encodeURIComponent(account)}`;
  return `otpauth://totp/${label}?secret=${encodeBase32(secret)}&issuer=${encodeURIComponent(issuer)}`;
}
