// What the suites of automatic certificates share: sockets that answer challenges, and an engine over them.
import { createServer, type Server } from 'node:net';
import { createServer as createHttpServer } from 'node:http';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import { openAutomaticCertificates, type AutomaticCertificates, type AutomaticDeps, type AutomaticSettings } from '#publish/certs/acme/automatic.ts';
import { unshared } from '#publish/certs/acme/cluster-store.ts';
import { Deadlines } from '#publish/http/deadlines.ts';
import { SecureContexts } from '#publish/tls/secure-contexts.ts';
import { terminateTls } from '#publish/tls/terminate.ts';
import type { Pebble } from '../../support/pebble.ts';
import { until } from '../../support/until.ts';

export async function stateFolder(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'mg-acme-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

export async function openAutomatic(
  t: Test,
  pebble: Pick<Pebble, 'directory' | 'ca'>,
  settings: Partial<AutomaticSettings> = {},
  deps: Partial<AutomaticDeps> = {},
): Promise<AutomaticCertificates> {
  const automatic = await openAutomaticCertificates(
    {
      folder: settings.folder ?? (await stateFolder(t)),
      authorities: [{ directory: pebble.directory, ca: pebble.ca, binding: undefined }],
      email: 'admin@example.com',
      termsAgreed: true,
      challenge: 'tls-alpn-01',
      keyType: 'ec256',
      together: [],
      ...settings,
    },
    { store: unshared, dns: undefined, clock: systemClock, random: Math.random, log: silentLogger, changed: () => undefined, ...deps },
  );
  t.teardown(() => automatic.close());
  return automatic;
}

/** The port at which the authority looks, answering as the gateway does. */
export async function answerTls(t: Test, port: number, automatic: () => AutomaticCertificates): Promise<Server> {
  const deadlines = new Deadlines(systemClock);
  const contexts = new SecureContexts();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const deps = {
      certificates: { find: (host: string) => automatic().find(host) },
      challenges: { certificate: (host: string) => automatic().challenges.certificate(host) },
    };
    terminateTls(
      socket,
      undefined,
      { ...deps, deadlines, contexts, protocols: Buffer.from('\x08http/1.1', 'latin1'), clients: () => undefined },
      ({ socket: secured }) => secured.end('HTTP/1.1 204 No Content\r\n\r\n'),
      () => undefined,
    );
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    deadlines.close();
  });
  return server;
}

export async function answerHttp(t: Test, port: number, automatic: () => AutomaticCertificates): Promise<void> {
  const server = createHttpServer((request, response) => {
    const token = /^\/\.well-known\/acme-challenge\/(.+)$/.exec(request.url ?? '')?.[1] ?? '';
    const host = (request.headers.host ?? '').replace(/:\d+$/, '');
    void automatic()
      .challenges.token(host, token)
      .then((body) => response.writeHead(body === undefined ? 404 : 200).end(body));
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
}

/** Waits for a certificate and gives its names and who issued it. */
export async function issued(automatic: AutomaticCertificates, host: string, limitMs = 20_000): Promise<number> {
  return await until(
    `a certificate for ${host} (${JSON.stringify(automatic.status(host))})`,
    () => automatic.status(host)?.state === 'valid' && automatic.find(host) !== undefined,
    limitMs,
  );
}
