// The signal service: a table from public key to open stream, nothing else. It cannot read what it carries (netbird-wire §3.1).
import { callerNetwork } from '#lib/ip.ts';
import { type Call, defineService, type RpcService } from '#rpc/method.ts';
import { PerAddress } from '#rpc/per-address.ts';
import type { Logger } from '#lib/log.ts';
import { type EncryptedMessage, SignalExchange } from '#wire/proto/gen/signalexchange_pb.ts';
import { deliveryMs, maxBodyBytes, maxQueuedPerPeer, maxSenders, maxStreams, maxStreamsPerAddress, sendBurst, sendPerSecond } from './constants.ts';
import { signalError } from './errors.ts';
import { Inbox } from './inbox.ts';
import { SendRate } from '#rpc/send-rate.ts';

export interface SignalLimits {
  readonly maxStreams: number;
  readonly maxStreamsPerAddress: number;
  readonly maxBodyBytes: number;
  readonly maxQueuedPerPeer: number;
  readonly deliveryMs: number;
  readonly sendBurst: number;
  readonly sendPerSecond: number;
}

const defaultLimits: SignalLimits = { maxStreams, maxStreamsPerAddress, maxBodyBytes, maxQueuedPerPeer, deliveryMs, sendBurst, sendPerSecond };

/** The request metadata that names the listening peer, and the answer's that confirms it. */
const peerIdHeader = 'x-wiretrustee-peer-id';
const registeredHeader = 'x-wiretrustee-peer-registered';

export interface SignalService {
  /** To be registered with a server of rpc/. */
  readonly service: RpcService;
  /** Peers that listen now. */
  connected(): number;
}

export interface SignalDeps {
  readonly log: Logger;
  /** Whether the key is a peer's; without it, as in a signal server that runs alone, any key may listen. */
  readonly isPeer?: (key: string) => Promise<boolean>;
}

/**
 * The protocol has no proof that a listener owns the key it names. Somebody who knows a peer's key can take its messages away, sealed, until
 * the peer connects again; `isPeer` and the share of each address keep strangers from filling the table.
 */
export function createSignalService({ log, isPeer }: SignalDeps, limits: Partial<SignalLimits> = {}): SignalService {
  const limit = { ...defaultLimits, ...limits };
  const inboxes = new Map<string, Inbox>();
  const shares = new PerAddress(limit.maxStreamsPerAddress);
  const rate = new SendRate(limit.sendBurst, limit.sendPerSecond, maxSenders, () => performance.now());

  async function connect(call: Call, confirm: () => void, send: (message: EncryptedMessage) => Promise<void>): Promise<void> {
    const key = call.header(peerIdHeader);
    if (key === undefined) throw signalError('SIGNAL_PEER_ID_MISSING');
    if (!isKey(key)) throw signalError('SIGNAL_KEY_INVALID');
    const giveBack = shares.take(call.peerAddress);
    if (giveBack === undefined) throw signalError('SIGNAL_FULL');
    try {
      if (isPeer !== undefined && !(await isPeer(key))) throw signalError('SIGNAL_STRANGER');
      await receive(key, call, confirm, send);
    } finally {
      giveBack();
    }
  }

  async function receive(key: string, call: Call, confirm: () => void, send: (message: EncryptedMessage) => Promise<void>): Promise<void> {
    if (inboxes.size >= limit.maxStreams && !inboxes.has(key)) throw signalError('SIGNAL_FULL');
    inboxes.get(key)?.end(signalError('SIGNAL_REPLACED'));
    const inbox = new Inbox(limit.maxQueuedPerPeer, limit.deliveryMs, send);
    inboxes.set(key, inbox);
    confirm(); // a stock client does nothing before it has seen this
    log.debug('signal stream opened', { peer: key });
    try {
      await inbox.run(call.signal);
    } finally {
      if (inboxes.get(key) === inbox) inboxes.delete(key);
      log.debug('signal stream closed', { peer: key });
    }
  }

  function deliver(message: EncryptedMessage, call: Call): void {
    if (!isKey(message.key) || !isKey(message.remoteKey)) throw signalError('SIGNAL_KEY_INVALID');
    if (message.body.length > limit.maxBodyBytes) throw signalError('SIGNAL_BODY_TOO_LARGE');
    if (!rate.take(callerNetwork(call.peerAddress))) throw signalError('SIGNAL_TOO_FAST');
    inboxes.get(message.remoteKey)?.put(message); // nobody there: dropped, as senders repeat themselves
  }

  const service = defineService(SignalExchange, {
    send: (request, call) => {
      deliver(request, call);
      return Promise.resolve({});
    },
    connectStream: (_requests, call, answers) =>
      connect(
        call,
        () => answers.headers({ [registeredHeader]: '1' }),
        (message) => answers.send(message),
      ),
  });
  return { service, connected: () => inboxes.size };
}

/** 32 bytes in standard base64, as every WireGuard key. */
function isKey(text: string): boolean {
  return /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/.test(text);
}
