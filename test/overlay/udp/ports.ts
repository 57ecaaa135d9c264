// The kinds of UDP port that one suite holds, and a small peer for them.
import { silentLogger } from '#lib/log.ts';
import { describeAccelerator, type DatagramEvents, type DatagramPort, type OpenDatagramPort } from '#overlay/udp/port.ts';
import { openDatagramPort, openPlainPort } from '#overlay/udp/open.ts';

export interface PortKind {
  readonly name: 'native' | 'dgram';
  readonly open: OpenDatagramPort;
}

/** Both kinds, or why the machine has only the plain one. */
export async function portKinds(): Promise<{ readonly kinds: readonly PortKind[]; readonly missing: string | undefined }> {
  const plain: PortKind = { name: 'dgram', open: openPlainPort };
  const best = await openDatagramPort(0, { receive: () => undefined, drained: () => undefined }, silentLogger);
  await best.close();
  return best.accelerator.kind === 'dgram'
    ? { kinds: [plain], missing: describeAccelerator(best.accelerator) }
    : { kinds: [{ name: 'native', open: openDatagramPort }, plain], missing: undefined };
}

/** A port that keeps what it gets, datagram by datagram. */
export class Mailbox implements DatagramEvents {
  readonly datagrams: { readonly bytes: Buffer; readonly address: string; readonly port: number }[] = [];
  /** Calls of `receive`: fewer than datagrams where they come joined. */
  runs = 0;
  turns = 0;
  #port: DatagramPort | undefined;
  #waiting: { readonly count: number; readonly resolve: () => void } | undefined;

  static async open(kind: PortKind, port = 0): Promise<Mailbox> {
    const box = new Mailbox();
    box.#port = await kind.open(port, box, silentLogger);
    return box;
  }

  get port(): DatagramPort {
    if (this.#port === undefined) throw new TypeError('not open');
    return this.#port;
  }

  receive(run: Uint8Array, size: number, address: string, port: number): void {
    this.runs++;
    let at = 0;
    do {
      this.datagrams.push({ bytes: Buffer.from(run.subarray(at, at + size)), address, port });
      at += size;
    } while (at < run.length);
    // Whoever gets it may write into it.
    run.fill(0xee);
  }

  drained(): void {
    this.turns++;
    if (this.#waiting !== undefined && this.datagrams.length >= this.#waiting.count) this.#waiting.resolve();
  }

  /** Resolves when so many datagrams have come in all. */
  async got(count: number): Promise<void> {
    if (this.datagrams.length >= count) return;
    await new Promise<void>((resolve) => (this.#waiting = { count, resolve }));
  }
}
