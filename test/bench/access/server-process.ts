// What the control plane does for identity, in a process of its own: passwords hashed while its loop has other work, and sessions kept.
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { PasswordHasher } from '#crypto/password.ts';
import { tokenDigest } from '#crypto/tokens.ts';
import { errorCode } from '#lib/errors.ts';
import { silentLogger } from '#lib/log.ts';
import { plainAccess } from '#model/access.ts';
import { asId, type ServiceId, type UserId } from '#model/ids.ts';
import { noRestrictions } from '#model/service.ts';
import { defaultStream } from '#model/stream.ts';
import { defaultWeb } from '#model/web.ts';
import type { ServiceRecord } from '../../../src/server/store/service-table.ts';
import { openStore } from '../../../src/server/store/store.ts';
import { residentMegabytes } from '../process-stat.ts';
import { answerQuestions } from '../http/asking.ts';

export interface LoginFigures {
  /** Milliseconds that the loop was late. */
  readonly p99: number;
  readonly max: number;
  /** Milliseconds until all were answered, and how many were told to come again later. */
  readonly tookMs: number;
  readonly refused: number;
}

/** The delay is looked at this often; it counts beyond. */
const everyMs = 5;

/** So many people send their password at once. */
async function logins(count: number): Promise<LoginFigures> {
  const hasher = new PasswordHasher();
  const signal = AbortSignal.timeout(120_000);
  const stored = await hasher.hash('correct horse battery staple', signal);
  const delay = monitorEventLoopDelay({ resolution: everyMs });
  delay.enable();
  const start = performance.now();
  const answers = await Promise.all(
    Array.from({ length: count }, () =>
      hasher.verify('correct horse battery staple', stored, signal).catch((error: unknown) => {
        if (errorCode(error) !== 'CRYPTO_BUSY') throw error;
        return 'busy' as const;
      }),
    ),
  );
  const tookMs = performance.now() - start;
  delay.disable();
  if (answers.includes(false)) throw new Error('a right password was refused');
  const late = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e6 - everyMs);
  return { p99: late(delay.percentile(99)), max: late(delay.max), tookMs, refused: answers.filter((answer) => answer === 'busy').length };
}

const service: ServiceRecord = {
  id: asId<ServiceId>('service'),
  name: 'app',
  domain: 'app.bench.test',
  mode: 'http',
  listenPort: undefined,
  portAutoAssigned: false,
  cluster: 'bench.test',
  targets: [],
  enabled: true,
  passHostHeader: true,
  rewriteRedirects: false,
  auth: { oidc: { enabled: true, groups: [] }, password: undefined, pin: undefined, headers: [] },
  issuers: ['local'],
  restrictions: noRestrictions,
  access: plainAccess,
  private: false,
  tlsAt: 'gateway',
  web: defaultWeb,
  stream: defaultStream,
  accessGroups: [],
  createdAt: 0,
  certificateIssuedAt: undefined,
};

/** Bytes of resident memory for each of so many sessions in the store, all of them read once. */
async function sessionBytes(count: number): Promise<number> {
  const directory = await mkdtemp(join(tmpdir(), 'mg-sessions-'));
  const store = await openStore(`sqlite:${join(directory, 'server.db')}`, silentLogger);
  try {
    await store.write(({ services }) => services.insert(service, 'key'));
    const before = await settled();
    const now = Date.now();
    const digests: string[] = [];
    for (let done = 0; done < count; done += 1_000) {
      await store.write(async ({ sessions }) => {
        for (let i = done; i < Math.min(count, done + 1_000); i++) {
          const digest = tokenDigest(randomBytes(32).toString('base64url'));
          digests.push(digest);
          await sessions.insert({
            digest,
            id: `session-${i}`,
            serviceId: service.id,
            userId: asId<UserId>(`user-${i}`),
            createdAt: now,
            expiresAt: now + 3_600_000,
            revoked: false,
            signIn: '',
            methods: ['pwd'],
            address: '198.51.100.7',
            userAgent: 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
            lastUsed: now,
            proofs: ['oidc'],
            name: '',
          });
        }
      });
    }
    for (const digest of digests) if ((await store.tables.sessions.find(digest)) === undefined) throw new Error('a session is missing');
    digests.length = 0;
    return (Math.max(0, (await settled()) - before) * 1_048_576) / count;
  } finally {
    await store.close();
    await rm(directory, { recursive: true, force: true });
  }
}

async function settled(): Promise<number> {
  for (let i = 0; i < 4; i++) {
    globalThis.gc?.();
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return residentMegabytes(process.pid);
}

answerQuestions({ logins, sessionBytes });
