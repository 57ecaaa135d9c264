// The request names the host that the TLS handshake named: else one service's certificate would carry another's traffic (RFC 9110 §15.5.20).
import { deny, type Check } from '../check.ts';

export const hostAgrees: Check = ({ subject }) =>
  subject.serverName !== undefined && subject.serverName !== subject.host ? deny('host_mismatch', `TLS named ${subject.serverName}`) : undefined;
