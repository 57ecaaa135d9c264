// Processes with overlays, their maps and their signal, for tests that count memory.
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Test } from 'tap';
import { generatePrivateKey, publicFromPrivate } from '#crypto/x25519.ts';
import { toBase64 } from '#lib/bytes.ts';
import { parsePublicKey, type PublicKey } from '#model/ids.ts';
import type { NetworkMap } from '#model/network-map.ts';
import { prefix } from '../pair.ts';
import type { FromEnd, ToEnd } from './end-process.ts';

export interface Identity {
  readonly publicKey: PublicKey;
  readonly privateKey: Uint8Array;
  readonly address: string;
}

export function identities(count: number): readonly Identity[] {
  return Array.from({ length: count }, (_, i) => {
    const privateKey = generatePrivateKey();
    const publicKey = parsePublicKey(toBase64(publicFromPrivate(privateKey)));
    if (publicKey === undefined) throw new TypeError('key');
    return { publicKey, privateKey, address: `100.92.${(i >> 7) + 1}.${(i & 127) + 1}` };
  });
}

export function mapOf(self: Identity, others: readonly Identity[]): NetworkMap {
  return {
    serial: 1n,
    self: { v4: prefix(`${self.address}/16`), v6: undefined, fqdn: 'self.mesh.test' },
    peers: others.map(({ publicKey, address }) => ({ publicKey, allowedIps: [prefix(`${address}/32`)], fqdn: '', agentVersion: '0.70.0' })),
    filter: { kind: 'open' },
  };
}

/** A process that holds the overlays of some identities. */
export class End {
  readonly #child: ChildProcess;
  #settle: { readonly resolve: (value: number) => void; readonly reject: (error: Error) => void } | undefined;
  signal: (message: Extract<FromEnd, { kind: 'signal' }>) => void = () => undefined;

  constructor(t: Test) {
    this.#child = spawn(process.execPath, ['--expose-gc', join(import.meta.dirname, 'end-process.ts')], {
      stdio: ['ignore', 'inherit', 'ignore', 'ipc'],
      serialization: 'advanced',
    });
    this.#child.on('message', (message: FromEnd) => {
      if (message.kind === 'signal') this.signal(message);
      else if (message.kind === 'done') this.#settle?.resolve(message.value);
      else this.#settle?.reject(new Error(message.reason));
    });
    t.teardown(() => this.#child.kill('SIGKILL'));
  }

  /** Tells it something and waits until it is done. */
  ask(message: ToEnd): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
      this.#child.send(message);
    });
  }

  tell(message: ToEnd): void {
    this.#child.send(message);
  }
}

/** Opens the two sides in two processes; the first has one overlay. Applying maps is left to the test. */
export async function openEnds(t: Test, hub: Identity, others: readonly Identity[]): Promise<readonly [End, End]> {
  const [one, many] = [new End(t), new End(t)];
  one.signal = (message) => many.tell(message);
  many.signal = (message) => one.tell(message);
  await one.ask({ kind: 'open', ends: [hub] });
  await many.ask({ kind: 'open', ends: others });
  return [one, many];
}
