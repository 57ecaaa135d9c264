// A STUN server that tells a sender its own address (RFC 8489 Binding over UDP) and does nothing else.
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { describeError } from '#lib/errors.ts';
import { parseIp, unmapIp } from '#lib/ip.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import { decodeStun, encodeStun } from '#wire/stun.ts';
import { ANSWERS_PER_SECOND, MAX_QUEUED_ANSWERS } from './constants.ts';
import { stunServerError } from './errors.ts';

export interface StunServerOptions {
  /** An address of this host; `::` takes IPv4 and IPv6. On a host of several addresses, name one: answers leave from where the route says. */
  readonly host: string;
  /** 0 picks one. */
  readonly port: number;
  readonly log: Logger;
}

export interface StunServer extends Closable {
  readonly port: number;
}

/** Opens the port; rejects with SERVER_STUN_BIND where that fails. Only valid Binding requests are answered, with XOR-MAPPED-ADDRESS and FINGERPRINT. */
export async function createStunServer(options: StunServerOptions): Promise<StunServer> {
  const socket = createSocket({ type: options.host.includes(':') ? 'udp6' : 'udp4' });
  try {
    socket.bind(options.port, options.host);
    await once(socket, 'listening');
  } catch (error) {
    socket.close();
    throw stunServerError('SERVER_STUN_BIND', `${options.host} port ${options.port}`, error);
  }
  const budget = new AnswerBudget();
  socket.on('message', (datagram, from) => answer(socket, datagram, from, budget));
  socket.on('error', (error) => options.log.warn('stun: the socket reports an error', { reason: describeError(error) }));
  let closing: Promise<void> | undefined;
  return {
    port: socket.address().port,
    close: () => {
      closing ??= new Promise((resolve) => socket.close(() => resolve()));
      return closing;
    },
  };
}

function answer(socket: Socket, datagram: Uint8Array, from: RemoteInfo, budget: AnswerBudget): void {
  const request = decodeStun(datagram);
  if (request?.class !== 'request' || request.unknownRequired.length > 0 || from.port === 0) return;
  const ip = parseIp(from.address.replace(/%.*$/, ''));
  if (ip === undefined || socket.getSendQueueCount() >= MAX_QUEUED_ANSWERS || !budget.take(performance.now())) return;
  const reply = encodeStun({ class: 'success', transactionId: request.transactionId, mapped: { ip: unmapIp(ip), port: from.port } });
  socket.send(reply, from.port, from.address);
}

/** A bucket that fills with time. */
class AnswerBudget {
  #left = ANSWERS_PER_SECOND;
  #at = 0;

  take(now: number): boolean {
    this.#left = Math.min(ANSWERS_PER_SECOND, this.#left + ((now - this.#at) * ANSWERS_PER_SECOND) / 1000);
    this.#at = now;
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }
}
