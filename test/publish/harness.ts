// A publisher with an echo upstream and raw clients, for the tests of publish/. All on loopback, port 0.
import { connect as h2Connect, type ClientHttp2Session, type Settings } from 'node:http2';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { connect as tlsConnect, type TLSSocket } from 'node:tls';
import { Duplex } from 'node:stream';
import type { Test } from 'tap';
import { asId, type AccountId, type ServiceId, type SessionId, type UserId } from '#model/ids.ts';
import { systemClock } from '#lib/clock.ts';
import { hostDial } from '#lib/host-dial.ts';
import { silentLogger } from '#lib/log.ts';
import type { Dial } from '#lib/net.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import type { Credential, CredentialCheck, DeviceAuthority, Identity, Session, SessionLookup, TokenCheck } from '#model/identity.ts';
import { defaultTargetOptions, noRestrictions, type MappingPath, type ServiceMapping } from '#model/service.ts';
import { defaultStream } from '#model/stream.ts';
import { defaultWeb } from '#model/web.ts';
import {
  buildRouteTable,
  createHttpPublisher,
  Unlocks,
  readCertificate,
  type AccessBackend,
  type Certificate,
  type HttpPublisher,
  type HttpPublisherDeps,
  type IdentityHeaders,
  type RouteTable,
  type SignIn,
} from '#publish/index.ts';
import { createTestCa } from '../support/test-ca.ts';
import { plainAccess, signInProofs } from '#model/access.ts';

/** As a gateway dials its own network: with a socket that lends what it reads. Upstreams behind TLS are read in the usual way. */
export const dialTcp: Dial = hostDial;

/** Dials a stream that is no socket, like those of the overlay. */
export const dialPlainStream: Dial = async (target, options) => {
  const socket = await dialTcp(target, options);
  const stream = new Duplex({
    read: () => void socket.resume(),
    write: (chunk: Buffer, _encoding, done) => void socket.write(chunk, done),
    final: (done) => void socket.end(done),
    destroy: (error, done) => {
      socket.destroy();
      done(error);
    },
  });
  socket.on('data', (chunk: Buffer) => {
    if (!stream.push(chunk)) socket.pause();
  });
  socket.on('end', () => stream.push(null));
  socket.on('error', (error) => stream.destroy(error));
  socket.on('close', () => (socket.readableEnded ? undefined : stream.destroy(new Error('closed'))));
  return stream;
};

/** A TCP server that hands each connection to `serve`. */
export async function listenTcp(serve: (socket: Socket) => void): Promise<{ port: number; close: () => Promise<void>; sockets: Set<Socket> }> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => undefined);
    socket.on('end', () => socket.end());
    serve(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    sockets,
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      }),
  };
}

export const alice: Identity = {
  userId: asId<UserId>('u-alice'),
  email: 'alice@example.test',
  name: 'Alice',
  groups: ['dev', 'ops'],
  method: 'oidc',
};

export function session(id: string, serviceId: ServiceId, expiresAt = Date.now() + 3_600_000): Session {
  return { id: asId<SessionId>(id), serviceId, identity: alice, createdAt: Date.now(), expiresAt, idleMs: undefined };
}

export function path(
  port: number,
  changes: { path?: string; basePath?: string; protocol?: 'http' | 'https'; host?: string } & Partial<MappingPath['options']> = {},
): MappingPath {
  const { path: prefix, basePath, protocol, host, ...options } = changes;
  return {
    path: prefix ?? '/',
    targets: [{ protocol: protocol ?? 'http', host: host ?? '127.0.0.1', port, basePath: basePath ?? '', weight: 1 }],
    options: {
      ...defaultTargetOptions,
      pathRewrite: 'preserve',
      ...options,
    },
  };
}

export function mapping(domain: string, paths: readonly MappingPath[], changes: Partial<ServiceMapping> = {}): ServiceMapping {
  return {
    id: asId<ServiceId>(`s-${domain}`),
    accountId: asId<AccountId>('a1'),
    domain,
    mode: 'http',
    listenPort: undefined,
    paths,
    access: plainAccess,
    passHostHeader: true,
    rewriteRedirects: false,
    restrictions: noRestrictions,
    private: false,
    web: defaultWeb,
    stream: defaultStream,
    authToken: 'once',
    ...changes,
  };
}

export const withLogin = { access: { ...plainAccess, proofs: signInProofs } } as const;

/** Sign-in and sessions from tables. */
export class FakeIdentity implements AccessBackend, SignIn, IdentityHeaders {
  readonly sessions = new Map<string, SessionLookup>();
  readonly tokens = new Map<string, TokenCheck>();
  readonly asked: string[] = [];
  fails = false;

  findSession(id: SessionId): SessionLookup | Promise<SessionLookup> {
    this.asked.push(id);
    if (this.fails) return Promise.reject(new TypeError('no authority'));
    return this.sessions.get(id) ?? { kind: 'none', why: 'unknown' };
  }

  /** By public key. */
  readonly peers = new Map<string, TokenCheck>();

  verifyPeer(key: string): TokenCheck {
    return this.peers.get(key) ?? { kind: 'denied', why: 'token_invalid' };
  }

  verifyServiceToken(plain: string): Promise<TokenCheck> {
    return Promise.resolve(this.tokens.get(plain) ?? { kind: 'denied', why: 'token_invalid' });
  }

  readonly credentials = new Map<string, CredentialCheck>();

  verifyCredential({ kind, name, secret }: Credential): Promise<CredentialCheck> {
    return Promise.resolve(this.credentials.get(`${kind} ${name} ${secret}`) ?? { kind: 'denied', why: 'wrong', retryAfterMs: 0 });
  }

  credentialKey({ kind, name, secret }: Credential): string {
    return `${kind} ${name} ${secret}`;
  }

  start(_place: unknown, returnTo: string): Promise<{ location: string; setCookies: string[] }> {
    return Promise.resolve({
      location: `https://idp.test/authorize?to=${encodeURIComponent(returnTo)}`,
      setCookies: ['__Host-meshgate-login1=x; Path=/; Secure; HttpOnly'],
    });
  }

  finish(_place: unknown, query: string): ReturnType<SignIn['finish']> {
    const to = new URLSearchParams(query).get('to');
    return Promise.resolve(
      to === null
        ? { kind: 'refused', reason: 'login_invalid', setCookies: [] }
        : { kind: 'signed-in', returnTo: to, setCookies: ['__Host-meshgate=s1; Path=/; Secure; HttpOnly; SameSite=Lax'] },
    );
  }

  prove(): ReturnType<SignIn['prove']> {
    return Promise.resolve({ kind: 'refused', why: 'not_asked', retryAfterMs: 0 });
  }

  logout(): Promise<readonly string[]> {
    return Promise.resolve(['__Host-meshgate=; Path=/; Max-Age=0']);
  }

  isReserved(key: string): boolean {
    return key === 'x-identity-user';
  }

  lines(identity: Identity | undefined): string {
    return identity === undefined ? '' : `X-Identity-User: ${identity.email}\r\n`;
  }

  jwks(): string {
    return '{"keys":[]}';
  }
}

export interface Fixture {
  readonly publisher: HttpPublisher;
  readonly identity: FakeIdentity;
  readonly unlocks: Unlocks;
  readonly port: number;
  readonly ca: string;
  readonly entries: AccessLogEntry[];
  /** Resolves with the next record of the access log. */
  nextEntry(): Promise<AccessLogEntry>;
  setRoutes(mappings: readonly ServiceMapping[]): void;
  connect(servername: string, alpn?: readonly string[]): Promise<TLSSocket>;
  close(): Promise<void>;
}

const authority = createTestCa();

export async function issue(names: readonly string[]): Promise<Certificate & { ca: string }> {
  const ca = await authority;
  const { certPem, keyPem } = await ca.issue(names);
  const certificate = readCertificate('test', certPem, keyPem);
  if ('problem' in certificate) throw new TypeError(certificate.problem);
  return { ...certificate, ca: ca.caPem };
}

const noDevices: DeviceAuthority = {
  pairDevice: async () => ({ refused: 'not_offered' }),
  listDevices: async () => [],
  revokeDevice: async () => undefined,
};

export async function startFixture(mappings: readonly ServiceMapping[], changes: Partial<HttpPublisherDeps> = {}): Promise<Fixture> {
  const certificate = await issue(['a.test', 'b.test', '*.wild.test']);
  let routes: RouteTable = buildRouteTable(mappings);
  const identity = new FakeIdentity();
  const entries: AccessLogEntry[] = [];
  let wake: ((entry: AccessLogEntry) => void)[] = [];
  const unlocks = new Unlocks({ clock: systemClock, log: silentLogger });
  const publisher = createHttpPublisher({
    unlocks,
    routes: () => routes,
    dial: dialTcp,
    directDial: dialTcp,
    backend: identity,
    signIn: identity,
    devices: noDevices,
    identityHeaders: identity,
    accessLog: (entry) => {
      entries.push(entry);
      const waiting = wake;
      wake = [];
      for (const resolve of waiting) resolve(entry);
    },
    certificates: {
      find: (host) => (certificate.names.includes(host) || certificate.names.includes(host.replace(/^[^.]+/, '*')) ? certificate : undefined),
    },
    log: silentLogger,
    clock: systemClock,
    upstreamCa: certificate.ca,
    ...changes,
  });
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
    publisher.handleConnection(socket, {
      remote: { address: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 },
      local: { address: socket.localAddress ?? '', port: socket.localPort ?? 0 },
    });
    socket.resume();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    publisher,
    identity,
    unlocks,
    port,
    ca: certificate.ca,
    entries,
    nextEntry: () => new Promise((resolve) => wake.push(resolve)),
    setRoutes: (next) => {
      routes = buildRouteTable(next);
    },
    connect: (servername, alpn = ['http/1.1']) =>
      new Promise((resolve, reject) => {
        const socket = tlsConnect({ host: '127.0.0.1', port, servername, ca: certificate.ca, ALPNProtocols: [...alpn] });
        socket.once('error', reject);
        socket.setNoDelay(true);
        socket.once('secureConnect', () => {
          socket.off('error', reject);
          socket.on('error', () => undefined);
          resolve(socket);
        });
      }),
    close: async () => {
      await publisher.close();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** An HTTP/2 client of the fixture, with the settings of the publisher known. */
export async function h2Client(t: Test, fixture: Fixture, host = 'a.test', settings: Settings = {}): Promise<ClientHttp2Session> {
  const socket = await fixture.connect(host, ['h2']);
  const session = h2Connect(`https://${host}`, { createConnection: () => socket, settings });
  session.on('error', () => undefined);
  t.teardown(() => session.destroy());
  await new Promise((resolve) => session.once('remoteSettings', resolve));
  return session;
}

/** Reads until the stream closes. */
export function readAll(stream: Duplex): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    stream.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
    stream.on('close', () => resolve(text));
  });
}

/** Reads until the text so far satisfies `enough`, or the stream closes. */
export function readUntil(stream: Duplex, enough: (text: string) => boolean): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    const done = (): void => {
      stream.off('data', onData);
      stream.off('close', done);
      resolve(text);
    };
    const onData = (chunk: Buffer): void => {
      text += chunk.toString('latin1');
      if (enough(text)) done();
    };
    stream.on('data', onData);
    stream.on('close', done);
  });
}

/** Sends bytes on a fresh connection and reads until it closes. The request should say `Connection: close`. */
export async function exchange(fixture: Fixture, request: string, servername = 'a.test'): Promise<string> {
  const socket = await fixture.connect(servername);
  const answer = readAll(socket);
  socket.write(request, 'latin1');
  return answer;
}

export interface Echo {
  readonly port: number;
  /** Raw bytes of each connection, in the order of arrival. */
  readonly received: string[];
  readonly connections: () => number;
  close(): Promise<void>;
}

/** An upstream that keeps what it received and answers each request with its head as body. */
export async function startEcho(): Promise<Echo> {
  const received: string[] = [];
  let connections = 0;
  const server = await listenTcp((socket) => {
    connections++;
    let pending = '';
    socket.on('data', (chunk: Buffer) => {
      pending += chunk.toString('latin1');
      for (;;) {
        const end = pending.indexOf('\r\n\r\n');
        if (end < 0) return;
        const head = pending.slice(0, end + 4);
        const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
        let size = end + 4 + length;
        if (/transfer-encoding: chunked/i.test(head)) {
          const last = pending.indexOf('\r\n0\r\n', end + 2);
          const finish = last < 0 ? -1 : pending.indexOf('\r\n\r\n', last + 2);
          if (finish < 0) return;
          size = finish + 4;
        }
        if (pending.length < size) return;
        received.push(pending.slice(0, size));
        pending = pending.slice(size);
        const method = head.slice(0, head.indexOf(' '));
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${head.length}\r\nX-Up: yes\r\n\r\n${method === 'HEAD' ? '' : head}`, 'latin1');
      }
    });
    socket.on('end', () => socket.end());
  });
  return { port: server.port, received, connections: () => connections, close: server.close };
}
