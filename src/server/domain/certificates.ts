// One order a name across a cluster: leases that expire by themselves, challenge answers that every gateway of the cluster may give, and sealed
// copies of what was issued. The control plane keeps boxes that only a gateway's key opens: what it stores, and its backups, reveal no key.
import { createHash } from 'node:crypto';
import type { ProxyId } from '#model/ids.ts';
import type { CertificateStatus } from '#model/status.ts';
import type { Tables } from '../store/store.ts';
import {
  certificateLeaseMs,
  maxCertificateNames,
  maxCertificateStates,
  maxLeases,
  maxSealedBytes,
  maxSealedCopies,
  proxyLiveMs,
  sealKeyKeptMs,
} from './constants.ts';
import { checkLimit } from './checks.ts';
import { write, type Context } from './context.ts';
import type { CertificateUseCases } from './contract.ts';
import { domainError, invalid } from './errors.ts';

export function certificateUseCases(context: Context): CertificateUseCases {
  const { store, clock } = context;

  /** A gateway speaks for the cluster that it is connected to, and for no other. */
  async function member(tables: Tables, cluster: string, proxyId: ProxyId): Promise<void> {
    if (!(await tables.certificates.isMember(cluster, proxyId))) throw domainError('DOMAIN_NOT_FOUND', 'gateway of this cluster');
  }

  async function holder(tables: Tables, cluster: string, proxyId: ProxyId, id: string, now: number): Promise<void> {
    const lease = await tables.certificates.lease(cluster, id);
    if (lease === undefined || lease.proxyId !== proxyId || lease.expiresAt <= now) throw domainError('DOMAIN_LEASE_LOST');
  }

  return {
    async lease({ cluster, proxyId, names, notAfter, sealKey }) {
      const id = idOf(names);
      if (sealKey.length !== 32) throw invalid('The key of a gateway has 32 bytes.');
      const recipient = base64(sealKey);
      return await write(context, async ({ tables, now }) => {
        await member(tables, cluster, proxyId);
        const { certificates } = tables;
        await certificates.deleteExpired(now, now - sealKeyKeptMs);
        await certificates.setSealKey(proxyId, cluster, recipient, now);
        const share = await certificates.share(cluster, id, recipient);
        if (share !== undefined && share.notAfter > notAfter) {
          return {
            kind: 'certificate',
            senderKey: Buffer.from(share.sender, 'base64'),
            recipientKey: sealKey,
            box: Buffer.from(share.box, 'base64'),
          };
        }
        const held = await certificates.lease(cluster, id);
        if (held !== undefined && held.proxyId !== proxyId) return { kind: 'held' };
        if (held === undefined && (await certificates.countLeases(cluster)) >= maxLeases) return { kind: 'held' };
        await certificates.setLease(cluster, id, { proxyId, expiresAt: now + certificateLeaseMs });
        return { kind: 'granted' };
      });
    },

    async release({ cluster, proxyId, names }) {
      const id = idOf(names);
      await write(context, ({ tables }) => tables.certificates.release(cluster, id, proxyId));
    },

    async present({ cluster, proxyId, names, answers }) {
      const id = idOf(names);
      if (answers.length > maxCertificateNames) throw invalid('These are too many challenges.');
      for (const { type, name, token, keyAuthorization } of answers) {
        // The thumbprint of an account key follows its token (RFC 8555 §8.1): nothing else can be made to appear at a gateway.
        const fits = /^[A-Za-z0-9_-]{1,256}$/.test(token) && /^[A-Za-z0-9_-]{43}$/.test(keyAuthorization.slice(token.length + 1));
        if ((type !== 'http-01' && type !== 'tls-alpn-01') || !names.includes(name) || !fits || !keyAuthorization.startsWith(`${token}.`)) {
          throw invalid('This is no challenge of the order.');
        }
      }
      await write(context, async ({ tables, now }) => {
        await holder(tables, cluster, proxyId, id, now);
        for (const answer of answers) await tables.certificates.setChallenge(cluster, id, answer, now + certificateLeaseMs);
      });
    },

    async findChallenge({ cluster, type, name, token }) {
      return await store.tables.certificates.challenge(cluster, type, name, token === '' ? undefined : token, clock.wall());
    },

    async recipients(cluster, proxyId) {
      return await store.read(async (tables) => {
        await member(tables, cluster, proxyId);
        const keys = await tables.certificates.sealKeys(cluster, clock.wall() - proxyLiveMs);
        return keys.slice(0, maxSealedCopies).map((key) => Buffer.from(key, 'base64'));
      });
    },

    async share({ cluster, proxyId, names, notAfter, sealed }) {
      const id = idOf(names);
      if (sealed.length > maxSealedCopies) throw invalid('These are too many copies.');
      if (!Number.isSafeInteger(notAfter)) throw invalid('A certificate ends some time.');
      for (const { senderKey, recipientKey, box } of sealed) {
        if (senderKey.length !== 32 || recipientKey.length !== 32 || box.length > maxSealedBytes) throw invalid('This is no sealed certificate.');
      }
      await write(context, async ({ tables, now }) => {
        await holder(tables, cluster, proxyId, id, now);
        for (const { senderKey, recipientKey, box } of sealed) {
          await tables.certificates.setShare(cluster, id, { recipient: base64(recipientKey), sender: base64(senderKey), box: base64(box), notAfter });
        }
      });
    },

    async report({ cluster, proxyId, changed, gone }) {
      await write(context, async ({ tables }) => {
        await member(tables, cluster, proxyId);
        for (const id of gone) await tables.certificates.deleteState(proxyId, digest(id));
        for (const status of changed) await tables.certificates.setState(proxyId, cluster, stateId(status), status);
        if (changed.length > 0) checkLimit((await tables.certificates.countStates(proxyId)) - 1, maxCertificateStates);
      });
    },

    async list() {
      return await store.tables.certificates.states();
    },
  };
}

/** Names in order, so that every gateway means the same order by them. */
function idOf(names: readonly string[]): string {
  if (names.length === 0 || names.length > maxCertificateNames) throw invalid('A certificate has 1 to 100 names.');
  if (names.some((name, index) => name.length > 255 || (index > 0 && name <= (names[index - 1] ?? ''))))
    throw invalid('The names of a certificate are sorted.');
  return digest(names.join(' '));
}

function stateId({ source, names }: CertificateStatus): string {
  return digest([source, ...names].join(' '));
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}
