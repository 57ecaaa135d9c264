// Certificates minted for users: each is for one service and a short time, and what it stands for is decided anew whenever a gateway asks.
import { X509Certificate } from 'node:crypto';
import { issueClientCertificate, readClientKey } from '#crypto/client-authority.ts';
import { asId, type ServiceId, type UserId } from '#model/ids.ts';
import type { CredentialAttempt, CredentialCheck, User } from '#model/identity.ts';
import { formatSshCertificate, formatSshKey, parseSshKey } from '#wire/ssh-certificate.ts';
import type { MintedRecord } from '../store/minted-table.ts';
import type { ServiceRecord } from '../store/service-table.ts';
import type { Tables } from '../store/store.ts';
import { checkLimit } from './checks.ts';
import { certificateSkewMs, certificatesListed, certificatesPerUser, sshPrincipalPattern } from './constants.ts';
import { write, type Context, type Write } from './context.ts';
import { domainError, invalid } from './errors.ts';
import { newId } from './ids.ts';
import { isIssuer } from './issuer-choice.ts';
import type { Minted, MintedUseCases, MintFor } from './minted-contract.ts';
import { readSettings } from './saved-settings.ts';
import { sessionTimes } from './session-times.ts';
import { enabledService, identityOf, mayUse, userProblem } from './sessions.ts';
import { doorOf } from './tls-place.ts';

const sshExtensions = ['permit-port-forwarding', 'permit-pty'];

export function mintedUseCases(context: Context): MintedUseCases {
  const { store, authorities, random } = context;

  async function mint(
    kind: MintedRecord['kind'],
    userId: UserId,
    request: MintFor,
    issue: (of: Pick<Minted, 'id' | 'expiresAt'> & { readonly user: User; readonly service: ServiceRecord; readonly write: Write }) => Promise<{
      readonly certificate: string;
      readonly digest: string;
      readonly principals: readonly string[];
    }>,
  ): Promise<Minted> {
    return await write(context, async (write) => {
      const { tables, now, audit } = write;
      const service = await serviceFor(tables, kind, request);
      const user = await tables.users.find(userId);
      const problem = user === undefined ? 'DOMAIN_USER_BLOCKED' : userProblem(service, user);
      if (user === undefined || problem !== undefined) throw domainError(problem ?? 'DOMAIN_USER_BLOCKED');
      if (user.service) throw invalid('Certificates are for people; a service user shows its token.');
      checkLimit(await tables.minted.countLive(now, userId), certificatesPerUser);
      const id = newId(random);
      const expiresAt = now + service.stream.certificates.maxAgeMs;
      const { certificate, digest, principals } = await issue({ id, expiresAt, user, service, write });
      await tables.minted.insert({ id, kind, digest, serviceId: service.id, userId, createdAt: now, expiresAt });
      await audit('certificate.mint', { kind: 'user', id: userId }, service.id, { service: service.name, kind, certificate: id });
      const { id: serviceId, domain, listenPort: port } = service;
      return { id, serviceId, domain, port, certificate, principals, expiresAt };
    });
  }

  return {
    authorities: { client: authorities.client.certPem, ssh: formatSshKey(authorities.ssh.publicKey, 'meshgate') },

    async mintTls(userId, request) {
      const publicKey = readClientKey(request.publicKey);
      if (publicKey === undefined) throw invalid('The key is a public key in PEM form: P-256, P-384, Ed25519, or RSA of 2048 to 4096 bits.');
      return await mint('tls', userId, request, async ({ expiresAt, user, service, write: { now } }) => {
        const certificate = await issueClientCertificate(authorities.client, {
          publicKey,
          commonName: user.email === '' ? user.id : user.email,
          email: /^[\x21-\x7e]+$/.test(user.email) ? user.email : undefined,
          uris: [`urn:meshgate:user:${user.id}`, `urn:meshgate:service:${service.id}`],
          notBefore: now - certificateSkewMs,
          notAfter: expiresAt,
        });
        const digest = new X509Certificate(certificate).fingerprint256.replaceAll(':', '').toLowerCase();
        return { certificate, digest, principals: [] };
      });
    },

    async mintSsh(userId, request) {
      const publicKey = parseSshKey(request.publicKey);
      if (publicKey === undefined) throw invalid('The key is a line with an ssh-ed25519 key.');
      return await mint('ssh', userId, request, async ({ id, expiresAt, user, service, write: { tables, now } }) => {
        const principals = await principalsOf(tables, service, user);
        const serial = Buffer.from(random(8)).readBigUInt64BE();
        const certificate = formatSshCertificate(
          {
            nonce: random(32),
            publicKey,
            serial,
            keyId: `${user.email || user.id} at ${service.domain} (${id})`,
            principals,
            validAfter: Math.floor((now - certificateSkewMs) / 1_000),
            validBefore: Math.floor(expiresAt / 1_000),
            extensions: sshExtensions,
            authority: authorities.ssh.publicKey,
          },
          (bytes) => authorities.ssh.sign(bytes),
          service.domain,
        );
        return { certificate, digest: `ssh ${serial}`, principals };
      });
    },

    async list(userId) {
      const rows = await store.tables.minted.listLive(context.clock.wall(), userId, certificatesListed);
      return rows.map(({ digest: _digest, ...view }) => view);
    },

    async revoke(id, of, actor) {
      await write(context, async ({ tables, audit, changed }) => {
        const record = await tables.minted.find(id);
        if (record === undefined || (of !== undefined && record.userId !== of)) throw domainError('DOMAIN_NOT_FOUND', 'certificate');
        if (!(await tables.minted.delete(id))) return;
        await audit('certificate.revoke', actor, record.serviceId, { certificate: id, kind: record.kind, user_id: record.userId });
        const service = await tables.services.find(record.serviceId);
        const cluster = service && doorOf(service);
        if (record.kind === 'tls') changed({ kind: 'revocation', revocation: { kind: 'token', digest: record.digest }, cluster });
      });
    },
  };
}

/**
 * What a client certificate stands for. The gateway has looked at its dates; what was opened with it may live on as long as a session of the
 * service does.
 */
export async function verifyMinted(context: Context, { serviceId, secret }: CredentialAttempt, cluster: string): Promise<CredentialCheck> {
  const { store, clock } = context;
  return await store.read(async (tables) => {
    const wrong: CredentialCheck = { kind: 'denied', why: 'wrong', retryAfterMs: 0 };
    const record = await tables.minted.findByDigest(secret);
    const service = await enabledService(tables, serviceId, cluster);
    if (record?.kind !== 'tls' || record.serviceId !== serviceId || service === undefined || !takesTls(service)) return wrong;
    if (record.createdAt + sessionTimes(service, await readSettings(tables)).maxAgeMs <= clock.wall()) return wrong;
    const user = await tables.users.find(record.userId);
    if (user === undefined || user.blocked || !(await isIssuer(context, tables, user.connector))) return wrong;
    if (!mayUse(service, user)) return { kind: 'denied', why: 'group_not_allowed', retryAfterMs: 0 };
    return { kind: 'valid', identity: await identityOf(tables, user, 'certificate') };
  });
}

/** The one service that is meant and mints. */
async function serviceFor(tables: Tables, kind: MintedRecord['kind'], { service: wanted, port }: MintFor): Promise<ServiceRecord> {
  const byId = await tables.services.find(asId<ServiceId>(wanted));
  const named = byId === undefined ? await tables.services.listByDomain(wanted.toLowerCase()) : [byId];
  const there = named.filter(({ enabled, listenPort }) => enabled && (port === undefined || listenPort === port));
  if (there.length === 0) throw domainError('DOMAIN_SERVICE_UNKNOWN');
  const minting = there.filter(kind === 'tls' ? takesTls : ({ stream }) => stream.certificates.ssh !== undefined);
  const [service] = minting;
  if (service === undefined) throw domainError('DOMAIN_SERVICE_NO_CERTIFICATES');
  if (minting.length > 1) throw invalid('Several services have this name: say which port.');
  return service;
}

function takesTls({ stream, web }: ServiceRecord): boolean {
  return stream.termination?.clientCertificate?.account === true || web.clientCertificate?.account === true;
}

/** The service's, or the local part of the user's address: only where that is one name, no other user's, and not root's. */
async function principalsOf(tables: Tables, service: ServiceRecord, user: User): Promise<readonly string[]> {
  const { principals = [] } = service.stream.certificates.ssh ?? {};
  if (principals.length > 0) return principals;
  const name = localPart(user.email);
  if (!sshPrincipalPattern.test(name) || name === 'root')
    throw invalid(`"${name}" is no name for a user of an SSH server: set ssh_principals of the service.`);
  const same = (await tables.users.list()).filter((other) => !other.service && localPart(other.email) === name);
  if (same.length > 1) throw invalid(`More than one user would be ${name} there: set ssh_principals of the service.`);
  return [name];
}

function localPart(email: string): string {
  return email.slice(0, Math.max(0, email.lastIndexOf('@'))).toLowerCase();
}
