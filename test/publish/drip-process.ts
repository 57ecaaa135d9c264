// Many connections that never come to an end, in a process of their own so that its descriptors and its work are not the gateway's: most send the
// first bytes of a ClientHello one by one, the others agree on TLS and send a request's head so.
import { connect, type Socket } from 'node:net';
import { connect as tlsConnect } from 'node:tls';

export interface DripOrder {
  readonly port: number;
  readonly ca: string;
  /** Connections that drip their hello. */
  readonly hellos: number;
  /** Connections that drip a head. */
  readonly heads: number;
}

export type DripReport =
  | { readonly kind: 'open'; readonly count: number }
  /** The longest that one was open while it dripped, in milliseconds; and those that were not closed, or not let in. */
  | { readonly kind: 'closed'; readonly count: number; readonly longestMs: number; readonly failed: number };

/** Of one address, below what the gateway takes of it. */
const perAddress = 250;
/** Connections under way at once. */
const together = 200;
const dripMs = 2_000;

/** The first bytes of a ClientHello of 512 bytes: true as far as they come. */
const hello = Buffer.from('16030102000100 01fc0303'.replaceAll(' ', ''), 'hex');
const head = Buffer.from('GET /slow HTTP/1.1\r\nHost: a.test\r\n');

async function run({ port, ca, hellos, heads }: DripOrder): Promise<void> {
  const open = new Set<{ readonly socket: Socket; readonly text: Buffer; at: number }>();
  let [dialled, closed, longestMs, failed] = [0, 0, 0, 0];
  const total = hellos + heads;
  const one = (): Promise<void> =>
    new Promise((resolve) => {
      const n = dialled++;
      const isHead = n % total < heads;
      const localAddress = `127.0.${1 + Math.floor(n / perAddress)}.1`;
      const socket = isHead
        ? tlsConnect({ socket: connect({ host: '127.0.0.1', port, localAddress }), servername: 'a.test', ca })
        : connect({ host: '127.0.0.1', port, localAddress });
      const entry = { socket, text: isHead ? head : hello, at: 0 };
      let since: number | undefined;
      socket.once(isHead ? 'secureConnect' : 'connect', () => {
        since = performance.now();
        open.add(entry);
        socket.setNoDelay(true);
        socket.resume();
        socket.write(entry.text.subarray(0, (entry.at = 1)));
        resolve();
      });
      socket.on('error', () => undefined);
      socket.once('close', () => {
        open.delete(entry);
        closed++;
        if (since === undefined) failed++;
        else longestMs = Math.max(longestMs, performance.now() - since);
        resolve();
        if (closed === total) finish();
      });
    });
  const finish = (): void => {
    clearInterval(dripping);
    process.send?.({ kind: 'closed', count: closed, longestMs, failed } satisfies DripReport, () => process.disconnect?.());
  };
  const dripping = setInterval(() => {
    for (const entry of open) {
      if (entry.at < entry.text.length && entry.socket.writable) entry.socket.write(entry.text.subarray(entry.at, ++entry.at));
    }
  }, dripMs);
  await Promise.all(
    Array.from({ length: together }, async () => {
      while (dialled < total) await one();
    }),
  );
  process.send?.({ kind: 'open', count: open.size } satisfies DripReport);
}

process.once('message', (order: DripOrder) => void run(order));
