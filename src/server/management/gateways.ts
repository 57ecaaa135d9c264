// The gateways whose mapping stream is open, one stream per gateway: a newer one replaces the older.
import type { ProxyId, ServiceId, TokenId } from '#model/ids.ts';
import { maxGatewayStreams } from './constants.ts';
import { managementError } from './errors.ts';
import type { MappingStream } from './mapping-stream.ts';

export class Gateways {
  readonly #streams = new Map<ProxyId, MappingStream>();

  get size(): number {
    return this.#streams.size;
  }

  /** Throws MANAGEMENT_PROXY_TAKEN where a gateway with another token has this name, MANAGEMENT_BUSY where too many are open. */
  add(stream: MappingStream): void {
    const { proxyId } = stream.connection;
    const older = this.#streams.get(proxyId);
    this.checkName(proxyId, stream.connection.tokenId);
    if (older === undefined && this.#streams.size >= maxGatewayStreams) throw managementError('MANAGEMENT_BUSY');
    older?.end(managementError('MANAGEMENT_PROXY_REPLACED'));
    this.#streams.set(proxyId, stream);
  }

  /** Whether this was still the gateway's stream. */
  remove(stream: MappingStream): boolean {
    const { proxyId } = stream.connection;
    return this.#streams.get(proxyId) === stream && this.#streams.delete(proxyId);
  }

  serviceChanged(id: ServiceId, cluster: string): void {
    for (const stream of this.#streams.values()) {
      if (stream.connection.cluster === cluster) stream.changed(id);
    }
  }

  /** That no gateway with another token has this name: one token cannot end, or speak for, what another one opened. */
  checkName(proxyId: ProxyId, tokenId: TokenId): void {
    const known = this.#streams.get(proxyId);
    if (known !== undefined && known.connection.tokenId !== tokenId) throw managementError('MANAGEMENT_PROXY_TAKEN');
  }

  /** A gateway that uses this token, for calls that do not say which gateway they come from. */
  ofToken(id: TokenId): ProxyId | undefined {
    for (const [proxyId, stream] of this.#streams) if (stream.connection.tokenId === id) return proxyId;
    return undefined;
  }
}
