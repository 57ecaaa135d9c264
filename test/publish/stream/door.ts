// The door of TCP and TLS services behind one listening socket, and what stands on both sides of it, for the tests of this folder.
import { connect, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Test } from 'tap';
import { systemClock } from '#lib/clock.ts';
import { openHostUdp } from '#lib/host-udp.ts';
import { silentLogger } from '#lib/log.ts';
import { asId } from '#model/ids.ts';
import type { Dial } from '#lib/net.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import type { ServiceMapping } from '#model/service.ts';
import { type Certificate, buildStreamTable, createStreamPublisher, type StreamPublisherDeps, Unlocks } from '#publish/index.ts';
import { dialTcp, listenTcp, mapping, path } from '../harness.ts';

export const port = 5432;

export function stream(name: string, targets: readonly number[], change: Partial<ServiceMapping> = {}): ServiceMapping {
  const first = path(targets[0] ?? 1);
  return mapping(name, [{ ...first, targets: targets.map((at) => ({ protocol: 'tcp', host: '127.0.0.1', port: at, basePath: '', weight: 1 })) }], {
    mode: 'tcp',
    listenPort: port,
    ...change,
  });
}

export interface Door {
  readonly port: number;
  readonly entries: AccessLogEntry[];
  readonly problems: string[];
  readonly passedOn: string[];
  apply(mappings: readonly ServiceMapping[]): void;
  open(): number;
  endTrust(trustKey: string, service: string): void;
  readonly unlocks: Unlocks;
  /** Of the service with that name. */
  targetProblems(name: string): readonly string[];
}

/** A publisher behind one listening socket that stands for the public port 5432. */
export async function open(
  t: Test,
  mappings: readonly ServiceMapping[],
  passOn = false,
  certificates?: ReadonlyMap<string, Certificate>,
  overlay: Dial = dialTcp,
  certificateHolder?: StreamPublisherDeps['certificateHolder'],
): Promise<Door> {
  const entries: AccessLogEntry[] = [];
  const problems: string[] = [];
  const passedOn: string[] = [];
  const unlocks = new Unlocks({ clock: systemClock, log: silentLogger });
  const publisher = createStreamPublisher({
    dial: overlay,
    certificateHolder,
    directDial: dialTcp,
    unlocks,
    certificates: { find: (host) => certificates?.get(host) },
    webDomain: (host) => (host === 'web.db.test' ? host : host.endsWith('.web.test') ? '*.web.test' : undefined),
    openUdp: openHostUdp,
    openDirectUdp: openHostUdp,
    accessLog: (entry) => void entries.push(entry),
    clock: systemClock,
    log: silentLogger,
  });
  const apply = (next: readonly ServiceMapping[]): void => {
    publisher.apply(buildStreamTable(next, (id, problem) => void problems.push(`${id} ${problem}`)));
  };
  apply(mappings);
  const listener = await listenTcp((socket) => {
    socket.removeAllListeners('end');
    const otherwise = (hello?: { readonly serverName: string | undefined }): void => {
      passedOn.push(hello?.serverName ?? '');
      socket.end('elsewhere');
      socket.resume();
    };
    const ends = { remote: { address: '127.0.0.1', port: socket.remotePort ?? 0 }, local: { address: '127.0.0.1', port } };
    publisher.handleConnection(socket, ends, port, passOn ? otherwise : undefined);
  });
  t.teardown(async () => {
    await publisher.close();
    await listener.close();
  });
  return {
    port: listener.port,
    entries,
    problems,
    passedOn,
    apply,
    open: () => publisher.stats().streams,
    endTrust: (trustKey, service) => publisher.endTrust(trustKey, asId(`s-${service}`)),
    unlocks,
    targetProblems: (name) => publisher.targetProblems(asId(`s-${name}`)).map(({ port: at, problem }) => `${at} ${problem}`),
  };
}

export function dial(door: Door): Socket {
  const socket = connect({ host: '127.0.0.1', port: door.port, allowHalfOpen: true });
  socket.on('error', () => undefined);
  return socket;
}

export async function read(socket: Socket | TLSSocket): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('latin1');
}

/** Resolves when the other side has ended or reset it. */
export async function gone(socket: Socket): Promise<void> {
  socket.resume();
  await new Promise<void>((resolve) => {
    socket.once('end', resolve);
    socket.once('close', () => resolve());
  });
  socket.destroy();
}

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

export async function entry(door: Door, count = 1): Promise<AccessLogEntry> {
  while (door.entries.length < count) await turn();
  return door.entries[count - 1] as AccessLogEntry;
}

/** Answers in upper case when its client has finished, so that both halves are seen to work. */
export async function upstream(t: Test, answer = (text: string): string => text.toUpperCase()) {
  const received: string[] = [];
  const server = await listenTcp((socket) => {
    socket.removeAllListeners('end');
    let text = '';
    socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
    socket.on('end', () => {
      received.push(text);
      socket.end(answer(text));
    });
  });
  t.teardown(() => server.close());
  return { port: server.port, received, sockets: server.sockets, close: () => server.close() };
}
