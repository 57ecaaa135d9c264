// TXT records by dynamic update of the zone's own name server (RFC 2136), over TCP and signed both ways.
import { createHmac, randomInt } from 'node:crypto';
import { connect } from 'node:net';
import { errorCode } from '#lib/errors.ts';
import { formatHostPort, type DialTarget } from '#lib/net.ts';
import { encodeDnsUpdate, readUpdateAnswer, type TsigKey } from '#wire/dns-update.ts';
import { DNS_CALL_MS, DNS_TTL_SECONDS } from './constants.ts';
import type { DnsRecords } from './dns-records.ts';
import { AcmeProblem } from './transport.ts';

export interface DnsServerSettings {
  readonly server: DialTarget;
  /** Undefined tries the parents of a name, from the nearest. */
  readonly zone: string | undefined;
  readonly keyName: string;
  readonly keyAlgorithm: 'hmac-sha256' | 'hmac-sha384' | 'hmac-sha512';
  readonly secret: Buffer;
}

/** RFC 2136 §2.2 and RFC 8945 §3. */
const rcodes: Readonly<Record<number, string>> = {
  1: 'FORMERR',
  2: 'SERVFAIL',
  4: 'NOTIMP',
  5: 'REFUSED',
  9: 'NOTAUTH',
  10: 'NOTZONE',
  16: 'BADSIG',
  17: 'BADKEY',
  18: 'BADTIME',
};
/** Another zone may be the right one. */
const otherZone = new Set([5, 9, 10]);

/** Rejects with AcmeProblem of kind `local`. */
export function dnsServerRecords(settings: DnsServerSettings): DnsRecords {
  const hash = settings.keyAlgorithm.slice('hmac-'.length);
  const key: TsigKey = {
    name: settings.keyName,
    algorithm: settings.keyAlgorithm,
    sign: (bytes) => createHmac(hash, settings.secret).update(bytes).digest(),
  };
  const where = formatHostPort(settings.server.host, settings.server.port);

  async function change(action: 'add' | 'remove', name: string, value: string, signal: AbortSignal): Promise<void> {
    let rcode = 0;
    for (const zone of settings.zone === undefined ? parents(name) : [settings.zone]) {
      const id = randomInt(65_536);
      const now = Math.floor(Date.now() / 1_000);
      const update = encodeDnsUpdate(id, { zone, name, value, action, ttlSeconds: DNS_TTL_SECONDS }, key, now);
      if (update === undefined) throw local(`${name} is too long for DNS`);
      const bytes = await exchange(settings.server, update.message, AbortSignal.any([signal, AbortSignal.timeout(DNS_CALL_MS)])).catch(
        (error: unknown) => {
          throw local(`the name server ${where} does not answer (${errorCode(error) ?? 'timeout'})`, error);
        },
      );
      const answer = readUpdateAnswer(bytes, id, update.mac, key, now);
      if (answer.kind === 'untrusted') throw local(`the name server ${where}: ${answer.why}`);
      if (answer.rcode === 0) return;
      rcode = answer.rcode;
      if (!otherZone.has(rcode)) break;
    }
    throw local(`the name server ${where} refused to ${action} ${name}: ${rcodes[rcode] ?? `code ${rcode}`}`);
  }

  return { add: (name, value, signal) => change('add', name, value, signal), remove: (name, value, signal) => change('remove', name, value, signal) };
}

/** From the nearest parent with two labels or more. */
function parents(name: string): string[] {
  const labels = name.split('.');
  return labels.slice(1, -1).map((_label, index) => labels.slice(index + 1).join('.'));
}

/** One message each way, with the length before it (RFC 1035 §4.2.2). */
function exchange(server: DialTarget, message: Uint8Array, signal: AbortSignal): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: server.host, port: server.port, noDelay: true });
    let held = Buffer.alloc(0);
    const end = (error: unknown): void => {
      signal.removeEventListener('abort', aborted);
      socket.destroy();
      reject(error as Error);
    };
    const aborted = (): void => end(signal.reason);
    if (signal.aborted) return aborted();
    signal.addEventListener('abort', aborted, { once: true });
    socket.on('error', end);
    socket.on('close', () => end(new TypeError('closed')));
    socket.on('data', (chunk: Buffer) => {
      held = Buffer.concat([held, chunk]);
      const length = held.length < 2 ? Infinity : held.readUInt16BE(0);
      if (held.length < length + 2) return;
      signal.removeEventListener('abort', aborted);
      resolve(held.subarray(2, length + 2));
      socket.destroy();
    });
    socket.write(Buffer.concat([Buffer.from([message.length >> 8, message.length & 0xff]), message]));
  });
}

function local(reason: string, cause?: unknown): AcmeProblem {
  return new AcmeProblem({ kind: 'local', reason, retryAfterMs: undefined }, cause);
}
