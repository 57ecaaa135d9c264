// Two peers of the lab that are told of each other: what path comes up, when, and how long traffic stood still.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { generatePrivateKey, publicFromPrivate } from '#crypto/x25519.ts';
import { toBase64 } from '#lib/bytes.ts';
import type { MeshEndpoints, TurnEndpoint } from '#model/network-map.ts';
import { centerPorts } from './center.ts';
import { type Lab, type Place, publicAddress } from './lab.ts';
import type { PeerEvent, PeerStart } from './peer.ts';

/** From starting a process to its first line. It takes a second. */
const readyLimitMs = 30_000;

export interface Token {
  readonly payload: string;
  readonly signature: string;
}

export interface Center {
  readonly lab: Lab;
  readonly token: Token;
  stop(): Promise<void>;
}

/** Starts what is public. */
export async function startCenter(lab: Lab): Promise<Center> {
  const child = spawnIn(lab.before(lab.public), 'center.ts', ['center', publicAddress.v4]);
  const [line] = (await firstLine(child)) as [string];
  return { lab, token: JSON.parse(line) as Token, stop: () => end(child) };
}

export interface MeetingOptions {
  readonly relay?: boolean;
  readonly turn?: readonly TurnEndpoint[];
  readonly six?: boolean;
}

type Told = Exclude<PeerEvent, { event: 'ready' }>;

/** Which way packets go: `turn` where either side's relayed address is in the pair. */
export type Way = 'direct' | 'turn' | 'relay' | 'none';

export class Meeting {
  readonly #children: readonly ChildProcess[];
  /** What each side has told. */
  readonly told: readonly [Told[], Told[]] = [[], []];
  readonly #listeners = new Set<() => void>();

  private constructor(children: readonly ChildProcess[]) {
    this.#children = children;
  }

  /** Starts both and tells them of each other; the first side is the controlling one, and dials. */
  static async start({ lab, token }: Center, places: readonly [Place, Place], options: MeetingOptions = {}): Promise<Meeting> {
    const keys = [generatePrivateKey(), generatePrivateKey()]
      .map((key) => ({ key: toBase64(key), text: toBase64(publicFromPrivate(key)) }))
      .sort((a, b) => (a.text > b.text ? -1 : 1));
    const host = options.six === true ? publicAddress.v6 : publicAddress.v4;
    const endpoints: MeshEndpoints = {
      signal: { host, port: centerPorts.signal, tls: false },
      stunUrls: [`stun:${options.six === true ? `[${host}]` : host}:${centerPorts.stun}`],
      relay:
        options.relay === true
          ? {
              urls: [`rel://${host}:${centerPorts.relay}`],
              tokenPayload: token.payload,
              tokenSignature: token.signature,
            }
          : undefined,
      ...(options.turn === undefined ? {} : { turn: options.turn }),
    };
    const children = places.map((place) => spawnIn(lab.before(place.namespace), 'peer.ts', ['peer']));
    const meeting = new Meeting(children);
    const ready = children.map((child) => firstLine(child));
    for (const [i, child] of children.entries()) {
      const start: PeerStart = {
        privateKey: keys[i]?.key ?? '',
        peerKey: keys[1 - i]?.text ?? '',
        own: `100.92.0.${i + 1}`,
        peer: `100.92.0.${2 - i}`,
        center: host,
        endpoints,
        dials: i === 0,
      };
      child.stdin?.write(`${JSON.stringify(start)}\n`);
      meeting.#listen(child, i === 0 ? 0 : 1);
    }
    await Promise.all(ready);
    for (const child of children) child.stdin?.write('go\n');
    return meeting;
  }

  /** Where the side's packets go now, and since when. */
  way(side: 0 | 1): { readonly way: Way; readonly atMs: number } {
    const last = this.told[side].findLast((told) => told.event === 'path');
    if (last === undefined) return { way: 'none', atMs: 0 };
    return { way: wayOf(last), atMs: last.atMs };
  }

  /** When the first of these ways came up at that side; undefined where none did. */
  firstAt(side: 0 | 1, ways: readonly Way[]): number | undefined {
    return this.told[side].find((told) => told.event === 'path' && ways.includes(wayOf(told)))?.atMs;
  }

  get echoes(): readonly (Told & { readonly event: 'echo' })[] {
    return this.told[0].filter((told) => told.event === 'echo');
  }

  /** Waits until it holds; looks at every event. */
  async until(holds: () => boolean, limitMs: number): Promise<boolean> {
    const timeout = AbortSignal.timeout(limitMs);
    while (!holds()) {
      if (timeout.aborted) return false;
      await new Promise<void>((resolve) => {
        const done = (): void => {
          this.#listeners.delete(done);
          timeout.removeEventListener('abort', done);
          resolve();
        };
        this.#listeners.add(done);
        timeout.addEventListener('abort', done);
      });
    }
    return true;
  }

  refresh(side: 0 | 1): void {
    this.#children[side]?.stdin?.write('refresh\n');
  }

  async stop(): Promise<void> {
    await Promise.all(this.#children.map((child) => end(child)));
  }

  #listen(child: ChildProcess, side: 0 | 1): void {
    if (child.stdout === null) return;
    createInterface({ input: child.stdout }).on('line', (line) => {
      const told = JSON.parse(line) as PeerEvent;
      if (told.event !== 'ready') this.told[side].push(told);
      for (const listener of this.#listeners) listener();
    });
  }
}

function wayOf(told: Told): Way {
  if (told.event !== 'path' || told.kind === 'none') return 'none';
  if (told.kind === 'relay') return 'relay';
  return told.remote.includes(' by turn ') || told.remote.startsWith(`${publicAddress.v4}:`) ? 'turn' : 'direct';
}

function spawnIn([program, ...before]: readonly [string, ...string[]], file: string, args: readonly string[]): ChildProcess {
  return spawn(program, [...before, process.execPath, join(import.meta.dirname, file), ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, NODE_OPTIONS: '', NODE_V8_COVERAGE: '' },
  });
}

async function firstLine(child: ChildProcess): Promise<readonly unknown[]> {
  if (child.stdout === null) throw new TypeError('no output');
  const lines = createInterface({ input: child.stdout });
  const ended = once(child, 'exit').then(() => {
    throw new TypeError('a process of the lab ended before it was ready');
  });
  return Promise.race([once(lines, 'line', { signal: AbortSignal.timeout(readyLimitMs) }), ended]);
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}
