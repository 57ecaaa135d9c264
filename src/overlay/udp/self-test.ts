// Before the native port is used for the first time in a process, it has to carry a run over loopback to itself: structures that this
// kernel lays out otherwise, a forbidden call or a firewall are found out here, not in the traffic of users. A host without loopback, such
// as a bare network namespace, cannot be asked; there the port has only to open.
import { networkInterfaces } from 'node:os';
import { describeError } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import { NativePort } from './native-port.ts';

const datagramBytes = 300;
const lastBytes = 17;
const count = 4;
/** Loopback hands over within the call; the rest is the event loop's time on a machine that is busy. */
const limitMs = 2000;

let answer: Promise<string | undefined> | undefined;

/** Why the native port is not to be used, or undefined where it works. Tried once. */
export function nativeUdpFault(log: Logger): Promise<string | undefined> {
  // An interface that is down is not in the list.
  const loopback = Object.values(networkInterfaces()).some((entries) => entries?.some((entry) => entry.internal && entry.family === 'IPv4'));
  if (!loopback) return Promise.resolve(undefined);
  answer ??= carryRun(log).catch(describeError);
  return answer;
}

async function carryRun(log: Logger): Promise<string | undefined> {
  const run = Uint8Array.from({ length: datagramBytes * (count - 1) + lastBytes }, (_, i) => (i * 7 + (i >> 8)) & 0xff);
  const sizes = Array.from({ length: count }, (_, i) => (i === count - 1 ? lastBytes : datagramBytes));
  const outcome = Promise.withResolvers<string | undefined>();
  const got: Buffer[] = [];
  const ports: NativePort[] = [];
  const timer = setTimeout(() => outcome.resolve(`the self-test brought ${got.length} of ${count} datagrams`), limitMs);
  try {
    const receiver = NativePort.open(
      '127.0.0.1',
      0,
      {
        receive: (bytes, size, _address, port) => {
          if (port !== ports[1]?.port) return;
          for (let at = 0; at < bytes.length; at += size) got.push(Buffer.from(bytes.subarray(at, at + size)));
        },
        drained: () => {
          if (got.length < count) return;
          const right = Buffer.concat(got).equals(run) && got.every((datagram, i) => datagram.length === sizes[i]);
          outcome.resolve(right ? undefined : 'the self-test brought other bytes than were sent');
        },
      },
      log,
    );
    ports.push(receiver);
    const sender = NativePort.open('127.0.0.1', 0, { receive: () => undefined, drained: () => undefined }, log);
    ports.push(sender);
    sender.sendRun(run, datagramBytes, { address: '127.0.0.1', port: receiver.port });
    return await outcome.promise;
  } finally {
    clearTimeout(timer);
    await Promise.all(ports.map((port) => port.close()));
  }
}
