// What has to be done now and then: signs of life between servers, and the end of what has had its time.
import { changeRetentionMs } from '../store/constants.ts';
import {
  accessLogRetentionMs,
  attemptsKeptMs,
  auditRetentionMs,
  certificatesKeptMs,
  linksKeptMs,
  proxyForgottenMs,
  serverGoneMs,
  withdrawnKeptMs,
} from './constants.ts';
import type { Context } from './context.ts';

/** To be called about once a minute: a server that does not is taken for dead by the others after `serverGoneMs`. */
export async function sweep(context: Context): Promise<void> {
  const { store, clock, limits, serverId } = context;
  await store.write(async (tables) => {
    const now = clock.wall();
    await tables.account.serverAlive(serverId, now);
    await tables.account.forgetServers(now - serverGoneMs, now);
    await tables.clusters.deleteProxiesBefore(now - proxyForgottenMs);
    await tables.sessions.deleteExpired(now);
    await tables.attempts.trim(now - attemptsKeptMs, limits.proofAttempts);
    await tables.links.deleteBefore(now - linksKeptMs);
    await tables.minted.deleteBefore(now - certificatesKeptMs);
    await tables.vault.deleteExpired(now);
    await tables.account.forgetLoginTokens(now);
    await tables.exposures.forgetWithdrawn(now - withdrawnKeptMs);
    await tables.changes.deleteBefore(now - changeRetentionMs);
    await tables.events.deleteAuditBefore(now - auditRetentionMs);
    await tables.events.trimAccess(now - accessLogRetentionMs, limits.accessLogRows);
  });
}
