// Why a connection to an upstream did not come about, as the one word that log, access log and counters tell.
import { errorCode } from '#lib/errors.ts';
import type { OwnReason } from '../pages/reasons.ts';

/** By the error's code: Node's, OpenSSL's, or of publish/. */
export function dialReason(error: unknown): OwnReason {
  const code = errorCode(error);
  switch (code) {
    case 'ECONNREFUSED':
    case 'ECONNRESET':
      return 'upstream_refused';
    case 'ETIMEDOUT':
    case 'PUBLISH_UPSTREAM_TIMEOUT':
      return 'upstream_timeout';
    case 'PUBLISH_UPSTREAM_BUSY':
      return 'upstream_busy';
    case 'PUBLISH_UPSTREAM_CLOSED':
      return 'draining';
    case 'PUBLISH_UPSTREAM_PROTOCOL':
      return 'upstream_protocol';
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return 'upstream_wrong_name';
    case 'CERT_HAS_EXPIRED':
    case 'CERT_NOT_YET_VALID':
      return 'upstream_expired';
    case undefined:
      return 'upstream_unreachable';
    default:
      if (/^(?:CERT_|DEPTH_|SELF_SIGNED|UNABLE_TO|INVALID_CA|PATH_LENGTH|INVALID_PURPOSE)/.test(code)) return 'upstream_untrusted';
      return /^(?:ERR_TLS|ERR_SSL|EPROTO|PUBLISH_UPSTREAM_TLS)/.test(code) ? 'upstream_tls' : 'upstream_unreachable';
  }
}
