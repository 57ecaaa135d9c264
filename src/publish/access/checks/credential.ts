// Secrets that come with every request: headers, basic authentication, paired devices, and the connection's certificate. One that is wrong denies, whatever cookie comes beside it.
import type { ProofKind } from '#model/access.ts';
import type { Credential, CredentialCheck, Identity } from '#model/identity.ts';
import { formatIp } from '#lib/ip.ts';
import type { Soon } from '../backend.ts';
import { deny, type Check, type CheckInput, type Verdict } from '../check.ts';
import { claimedSessionId } from '../cookies.ts';
import { credentialsOf } from '../credentials.ts';
import { admit } from '../rules/admit.ts';

export const requestCredential: Check = (input) => {
  const { service, request, deviceSecret } = input.subject;
  const certificate = certificateOf(input.subject);
  if (service?.credentials === undefined && deviceSecret !== undefined) return deny('credential_invalid', 'no device is paired here');
  const sent = service?.credentials === undefined ? [] : credentialsOf(service.credentials, request.fields, deviceSecret);
  if (sent === 'unreadable') return deny('credential_invalid', 'it cannot be read');
  const credentials = certificate === undefined ? sent : [certificate, ...sent];
  return credentials.length === 0 ? undefined : judge(input, credentials, []);
};

/** A certificate of the account's own authority that the handshake has shown; the check of client certificates has been before. */
function certificateOf({ service, shown }: CheckInput['subject']): Credential | undefined {
  const rule = service?.clients;
  if (rule === undefined || 'problem' in rule || !rule.account || shown?.certificate === undefined) return undefined;
  return { kind: 'certificate', name: '', secret: shown.certificate.fingerprint };
}

interface Proven {
  readonly credential: Credential;
  readonly identity: Identity;
}

/** Each in turn; `proven` are those before it. */
function judge(input: CheckInput, credentials: readonly Credential[], proven: readonly Proven[]): Soon<Verdict | undefined> {
  const { subject, backend, signal } = input;
  const credential = credentials[proven.length];
  if (credential === undefined) return admitted(input, proven);
  const { service, address } = subject;
  if (service === undefined) return deny('internal_error', 'no service');
  const proceed = (check: CredentialCheck): Soon<Verdict | undefined> => {
    if (check.kind === 'valid') return judge(input, credentials, [...proven, { credential, identity: check.identity }]);
    switch (check.why) {
      case 'wrong':
        return deny('credential_invalid', credential.kind);
      case 'wait':
        return { ...deny('too_many_attempts', credential.kind), retryAfterMs: check.retryAfterMs };
      case 'group_not_allowed':
        return deny('group_not_allowed', credential.kind);
    }
  };
  const found = backend.verifyCredential(credential, service.id, address === undefined ? '' : formatIp(address), signal);
  return found instanceof Promise ? found.then(proceed) : proceed(found);
}

function admitted(input: CheckInput, proven: readonly Proven[]): Verdict | undefined {
  // A device or certificate stands for its user; the others stand for nobody who has an account.
  const { identity } = proven.find(({ credential: { kind } }) => kind === 'device' || kind === 'certificate') ?? proven[0] ?? {};
  if (identity === undefined) return undefined;
  const proofs: readonly ProofKind[] = proven.map(({ credential }) => credential.kind);
  const trustKeys = proven.map(({ credential }) => input.backend.credentialKey(credential));
  const verdict = admit(input, 'credential', { identity, proofs });
  if (verdict.kind !== 'challenge' || claimedSessionId(input.subject.cookies) === undefined) return { ...verdict, trustKeys };
  // The browser may have proven the rest.
  input.proven = { proofs, trustKeys };
  return undefined;
}
