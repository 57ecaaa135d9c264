// The signal stream of one peer: registered, watched for silence, and the way out for messages.
import type { Clock } from '#lib/clock.ts';
import { describeError, errorCode } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import type { PublicKey } from '#model/ids.ts';
import { parsePublicKey } from '#model/ids.ts';
import type { MeshEndpoints } from '#model/network-map.ts';
import type { SignalMessage } from '#model/signal.ts';
import type { LinkStatus } from '#model/status.ts';
import { RpcChannel } from '#rpc/client.ts';
import type { Sealer } from '#rpc/sealed.ts';
import { formatHostPort } from '#lib/net.ts';
import { Body_Type, BodySchema, type EncryptedMessage, SignalExchange } from '#wire/proto/gen/signalexchange_pb.ts';
import { echoMs, maxSignalBytes, maxSignalsInFlight, sendAttempts, sendMs, silenceMs, streamOpenMs, verifyMs, watchEveryMs } from './constants.ts';
import { controlError } from './errors.ts';
import { keepOpen, LinkState, Nudge } from './link.ts';
import { bodyOf, signalFrom } from './translate-signal.ts';

export interface SignalLinkOptions {
  readonly signal: MeshEndpoints['signal'];
  readonly ca: string | undefined;
  readonly ownKey: PublicKey;
  readonly sealer: Sealer;
  received(from: PublicKey, message: SignalMessage): void;
  connected(): void;
}

export class SignalLink {
  readonly #options: SignalLinkOptions;
  readonly #channel: RpcChannel;
  readonly #state: LinkState;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #closing = new AbortController();
  #inFlight = 0;
  #lastFrame = 0;
  #running: Promise<void> | undefined;
  readonly #nudge = new Nudge();
  /** Aborted where the stream that is open is dead. */
  #silent = new AbortController();

  constructor(options: SignalLinkOptions, clock: Clock, log: Logger) {
    const { signal, ca } = options;
    this.#options = options;
    this.#channel = new RpcChannel({ ...signal, ca });
    this.#state = new LinkState('signal', `${signal.tls ? 'https' : 'http'}://${formatHostPort(signal.host, signal.port)}`, clock);
    this.#clock = clock;
    this.#log = log;
  }

  start(): void {
    const { signal } = this.#closing;
    this.#running ??= keepOpen({
      state: this.#state,
      clock: this.#clock,
      log: this.#log,
      signal,
      nudge: this.#nudge,
      open: (ending) => this.#open(ending),
    });
  }

  /** Tries a few times, then drops it. */
  send(to: PublicKey, message: SignalMessage): void {
    if (this.#inFlight >= maxSignalsInFlight) return this.#log.debug('signal message dropped: too many on their way', { peer: to });
    this.#inFlight += 1;
    void this.#deliver(to, this.#options.sealer.seal(BodySchema, bodyOf(message), to)).finally(() => {
      this.#inFlight -= 1;
    });
  }

  /** The host's network changed: the connection has to carry a heartbeat soon, or another is opened; where none is open, at once. */
  networkChanged(): void {
    this.#nudge.now();
    if (this.#state.connected) void this.#verify();
  }

  status(): LinkStatus {
    return this.#state.status();
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#channel.close();
    await this.#running;
  }

  async #deliver(to: PublicKey, body: Uint8Array): Promise<void> {
    const { signal } = this.#closing;
    for (let attempt = 1; attempt <= sendAttempts && !signal.aborted; attempt++) {
      try {
        const options = { signal, deadlineMs: sendMs };
        await this.#channel.unary(SignalExchange.method.send, { key: this.#options.ownKey, remoteKey: to, body }, options);
        return;
      } catch (error) {
        this.#log.debug('signal message not delivered', { peer: to, attempt, reason: describeError(error) });
        if (errorCode(error) === 'RPC_INVALID_ARGUMENT') return;
      }
    }
  }

  async #verify(): Promise<void> {
    const { ownKey, sealer } = this.#options;
    const silent = this.#silent;
    const body = sealer.seal(BodySchema, { type: Body_Type.HEARTBEAT }, ownKey);
    const options = { signal: AbortSignal.any([this.#closing.signal, silent.signal]), deadlineMs: verifyMs };
    try {
      await this.#channel.unary(SignalExchange.method.send, { key: ownKey, remoteKey: ownKey, body }, options);
    } catch (error) {
      this.#log.debug('the signal connection did not survive a change of the network', { reason: describeError(error) });
      this.#channel.renew();
      this.#nudge.now();
      silent.abort();
    }
  }

  async #open(ending: AbortSignal): Promise<void> {
    const silent = new AbortController();
    this.#silent = silent;
    const stream = await this.#channel.duplex(SignalExchange.method.connectStream, {
      signal: AbortSignal.any([ending, silent.signal]),
      deadlineMs: streamOpenMs,
      headers: { 'x-wiretrustee-peer-id': this.#options.ownKey },
    });
    let watch: { stop(): void } | undefined;
    try {
      const header = await stream.headers;
      if (header('x-wiretrustee-peer-registered') === undefined) throw controlError('CONTROL_SIGNAL_UNCONFIRMED');
      this.#state.up();
      this.#lastFrame = this.#clock.now();
      watch = this.#watch(silent);
      this.#options.connected();
      for await (const message of stream) {
        this.#lastFrame = this.#clock.now();
        this.#received(message);
      }
    } catch (error) {
      throw silent.signal.aborted ? controlError('CONTROL_SIGNAL_SILENT', '', error) : error;
    } finally {
      watch?.stop();
      stream.cancel();
    }
  }

  /** After long silence, sends a heartbeat to ourselves; where it does not come back, the stream is dead. */
  #watch(silent: AbortController): { stop(): void } {
    let askedAt: number | undefined;
    const look = (): void => {
      const now = this.#clock.now();
      if (now - this.#lastFrame < silenceMs) askedAt = undefined;
      else if (askedAt === undefined) {
        askedAt = now;
        const { ownKey, sealer } = this.#options;
        void this.#deliver(ownKey, sealer.seal(BodySchema, { type: Body_Type.HEARTBEAT }, ownKey));
      } else if (now - askedAt >= echoMs) return silent.abort();
      timer = this.#clock.after(watchEveryMs, look);
    };
    let timer = this.#clock.after(watchEveryMs, look);
    return { stop: () => timer.cancel() };
  }

  #received(message: EncryptedMessage): void {
    const from = parsePublicKey(message.key);
    if (from === undefined || message.remoteKey !== this.#options.ownKey || message.body.length > maxSignalBytes) return;
    if (from === this.#options.ownKey) return; // our own heartbeat
    try {
      const inner = signalFrom(this.#options.sealer.open(BodySchema, message.body, from));
      if (inner !== undefined) this.#options.received(from, inner);
    } catch (error) {
      this.#log.debug('signal message dropped', { peer: from, reason: describeError(error) });
    }
  }
}
