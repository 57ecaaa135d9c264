// OpenSSH user certificates, held against OpenSSH's own reader.
import { spawnSync } from 'node:child_process';
import { createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import t from 'tap';
import { formatSshCertificate, formatSshKey, parseSshKey, type SshUserCertificate } from '#wire/ssh-certificate.ts';

const keygen = 'ssh-keygen';
const noKeygen = spawnSync(keygen, ['-?']).error === undefined ? false : 'needs the Debian package openssh-client';

function keys(): { readonly publicKey: Uint8Array; readonly sign: (bytes: Uint8Array) => Uint8Array } {
  const { privateKey } = generateKeyPairSync('ed25519');
  const { x = '' } = createPublicKey(privateKey).export({ format: 'jwk' });
  return { publicKey: new Uint8Array(Buffer.from(x, 'base64url')), sign: (bytes) => new Uint8Array(sign(null, bytes, privateKey)) };
}

function certificate(authority: Uint8Array, change: Partial<SshUserCertificate> = {}): SshUserCertificate {
  return {
    nonce: new Uint8Array(32).fill(7),
    publicKey: keys().publicKey,
    serial: 0xffff_ffff_ffff_fffen,
    keyId: 'bob@example.com at ssh.edge.test',
    principals: ['bob', 'deploy'],
    validAfter: 1_700_000_000,
    validBefore: 1_700_003_600,
    extensions: ['permit-pty', 'permit-port-forwarding'],
    authority,
    ...change,
  };
}

void t.test('ssh-keygen reads every field as it was meant, and accepts the signature', { skip: noKeygen }, (t) => {
  const authority = keys();
  const line = formatSshCertificate(certificate(authority.publicKey), authority.sign, 'ssh.edge.test');
  const { stdout, status, stderr } = spawnSync(keygen, ['-L', '-f', '-'], {
    input: `${line}\n`,
    encoding: 'utf8',
    env: { ...process.env, TZ: 'UTC' },
  });
  t.equal(status, 0, stderr);
  t.match(stdout, /Type: ssh-ed25519-cert-v01@openssh.com user certificate/);
  t.match(stdout, /Key ID: "bob@example.com at ssh.edge.test"/);
  t.match(stdout, /Serial: 18446744073709551614/);
  t.match(stdout, /Valid: from 2023-11-14T22:13:20 to 2023-11-14T23:13:20/);
  t.match(stdout, /Principals: \n\s+bob\n\s+deploy\n/);
  t.match(stdout, /Critical Options: \(none\)/);
  t.match(stdout, /Extensions: \n\s+permit-port-forwarding\n\s+permit-pty\n/);
  const print = spawnSync(keygen, ['-l', '-f', '-'], { input: `${formatSshKey(authority.publicKey, 'ca')}\n`, encoding: 'utf8' }).stdout.split(
    ' ',
  )[1];
  t.ok(print !== undefined && stdout.includes(`Signing CA: ED25519 ${print}`), 'by this authority');

  const forged = formatSshCertificate(certificate(authority.publicKey), keys().sign, 'x');
  const answer = spawnSync(keygen, ['-L', '-f', '-'], { input: `${forged}\n`, encoding: 'utf8' });
  t.notMatch(answer.stdout, /Principals/, 'a signature of another key is refused');
  t.end();
});

void t.test('a certificate for everybody is never made', (t) => {
  const authority = keys();
  t.throws(() => formatSshCertificate(certificate(authority.publicKey, { principals: [] }), authority.sign, ''));
  t.end();
});

void t.test('keys are read back, and nothing else is one', (t) => {
  const { publicKey } = keys();
  const line = formatSshKey(publicKey, 'me@here');
  t.same(parseSshKey(line), publicKey);
  t.same(parseSshKey(line.split(' ').slice(0, 2).join(' ')), publicKey);
  const blob = line.split(' ')[1] ?? '';
  for (const wrong of [
    '',
    'ssh-ed25519',
    `ssh-rsa ${blob}`,
    `ssh-ed25519 ${blob.slice(0, -4)}`,
    `ssh-ed25519 ${blob}AAAA`,
    `x ${line}`,
    `${line}\nssh-ed25519 ${blob}`,
  ]) {
    t.equal(parseSshKey(wrong), undefined, JSON.stringify(wrong.slice(0, 20)));
  }
  t.end();
});
