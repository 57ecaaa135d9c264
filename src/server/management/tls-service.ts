// PeerTlsService, our own extension: a connected agent at which TLS ends gets its token, and learns who may bring visitors.
import { parsePublicKey, type PublicKey } from '#model/ids.ts';
import { defineService, type RpcService } from '#rpc/method.ts';
import { PeerTlsService, TlsGrantRequestSchema, TlsGrantSchema } from '#wire/proto/gen/meshgate_peer_pb.ts';
import type { AgentDoorUseCases } from '../domain/agent-doors.ts';
import { maxTokenText } from './constants.ts';
import type { Envelopes } from './envelopes.ts';
import { managementError } from './errors.ts';

export interface TlsServiceParts {
  readonly doors: AgentDoorUseCases;
  readonly envelopes: Envelopes;
  /** Whether the peer's Sync stream is open. */
  readonly isConnected: (peer: PublicKey) => boolean;
}

export function createTlsService({ doors, envelopes, isConnected }: TlsServiceParts): RpcService {
  return defineService(PeerTlsService, {
    grant: async (envelope, call) => {
      const key = parsePublicKey(envelope.wgPubKey);
      if (key === undefined) throw managementError('MANAGEMENT_KEY_INVALID');
      if (!isConnected(key)) throw managementError('MANAGEMENT_REPORT_STRANGER');
      const { from, message } = envelopes.open(TlsGrantRequestSchema, envelope, call);
      const { expiresAt, gateways, ...door } = await doors.grant(from, message.token.slice(0, maxTokenText));
      const keys = gateways.map((gateway) => Buffer.from(gateway, 'base64'));
      return envelopes.seal(TlsGrantSchema, { ...door, expiresAt: BigInt(expiresAt), gateways: keys }, from);
    },
  });
}
