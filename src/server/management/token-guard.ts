// Gateways prove themselves by a bearer token on every call. Wrong ones are counted by address; a revoked one ends what it opened.
import type { Clock } from '#lib/clock.ts';
import { callerNetwork } from '#lib/ip.ts';
import type { TokenId } from '#model/ids.ts';
import type { Call, Guard } from '#rpc/method.ts';
import type { ProxyToken } from '../domain/contract.ts';
import { maxFailingAddresses, maxTokenFailures, maxTokenText, tokenFailureMs } from './constants.ts';
import { managementError } from './errors.ts';
import type { ManagementDomain } from './options.ts';

interface Failures {
  count: number;
  readonly since: number;
}

export class TokenGuard {
  readonly #tokens: ManagementDomain['tokens'];
  readonly #clock: Clock;
  readonly #failures = new Map<string, Failures>();
  /** One for each token in use; as many as an administrator made. */
  readonly #revocations = new Map<TokenId, AbortController>();

  constructor(tokens: ManagementDomain['tokens'], clock: Clock) {
    this.#tokens = tokens;
    this.#clock = clock;
  }

  /** To be put before every call of a service. */
  readonly guard: Guard = async (call) => {
    const token = await this.check(call);
    const known = this.#revocations.get(token.id);
    if (known !== undefined) return known.signal;
    const revocation = new AbortController();
    this.#revocations.set(token.id, revocation);
    return revocation.signal;
  };

  /** The token of a call. Throws MANAGEMENT_TOKEN_INVALID, and MANAGEMENT_TOKEN_FAILURES for addresses that guess. */
  async check(call: Pick<Call, 'header' | 'peerAddress'>): Promise<ProxyToken> {
    const address = callerNetwork(call.peerAddress);
    if (this.#failuresOf(address) >= maxTokenFailures) throw managementError('MANAGEMENT_TOKEN_FAILURES');
    const plain = /^Bearer ([\x21-\x7e]+)$/i.exec(call.header('authorization') ?? '')?.[1];
    const token = plain === undefined || plain.length > maxTokenText ? undefined : await this.#tokens.verifyProxy(plain);
    if (token !== undefined && !token.revoked) return token;
    this.#countFailure(address);
    throw managementError('MANAGEMENT_TOKEN_INVALID');
  }

  /** Ends every call that this token opened. */
  revoke(id: TokenId): void {
    this.#revocations.get(id)?.abort(managementError('MANAGEMENT_TOKEN_INVALID'));
    this.#revocations.delete(id);
  }

  #failuresOf(address: string): number {
    const failures = this.#failures.get(address);
    if (failures === undefined) return 0;
    if (this.#clock.now() - failures.since < tokenFailureMs) return failures.count;
    this.#failures.delete(address);
    return 0;
  }

  #countFailure(address: string): void {
    const failures = this.#failures.get(address);
    if (failures !== undefined) {
      failures.count += 1;
      return;
    }
    if (this.#failures.size >= maxFailingAddresses) {
      const oldest = this.#failures.keys().next();
      if (oldest.done !== true) this.#failures.delete(oldest.value);
    }
    this.#failures.set(address, { count: 1, since: this.#clock.now() });
  }
}
