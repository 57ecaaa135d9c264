import t from 'tap';
import { encodeBase32, totpCode, totpStep, totpUri } from '#crypto/totp.ts';

t.test('codes are those of RFC 6238, appendix B, by their last six digits', async (t) => {
  const secret = Buffer.from('12345678901234567890');
  for (const [seconds, code] of [
    [59, '287082'],
    [1_111_111_109, '081804'],
    [1_111_111_111, '050471'],
    [1_234_567_890, '005924'],
    [2_000_000_000, '279037'],
    [20_000_000_000, '353130'],
  ] as const) {
    t.equal(totpCode(secret, totpStep(seconds * 1000)), code, String(seconds));
  }
});

t.test('secrets are told in base 32, as RFC 4648 §10 has it', async (t) => {
  for (const [text, encoded] of [
    ['', ''],
    ['f', 'MY'],
    ['fo', 'MZXQ'],
    ['foo', 'MZXW6'],
    ['foob', 'MZXW6YQ'],
    ['fooba', 'MZXW6YTB'],
    ['foobar', 'MZXW6YTBOI'],
  ] as const) {
    t.equal(encodeBase32(Buffer.from(text)), encoded);
  }
  t.equal(
    totpUri('Mesh & Co', 'a b@x.test', Buffer.from('foo')),
    'otpauth://totp/Mesh%20%26%20Co:a%20b%40x.test?secret=MZXW6&issuer=Mesh%20%26%20Co',
  );
});
