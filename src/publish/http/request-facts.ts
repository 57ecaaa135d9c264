// What the access log says of a request itself, cut to sane lengths.
import type { AccessLogEntry } from '#model/access-log.ts';
import type { Identity } from '#model/identity.ts';
import { fieldValue } from '#wire/http1-fields.ts';
import { redactReferer } from '../access/device-path.ts';
import type { Subject } from '../access/subject.ts';
import { LOG_TEXT } from '../constants.ts';
import type { ExchangeRequest } from './exchange.ts';

type Facts = Pick<AccessLogEntry, 'serviceId' | 'protocol' | 'method' | 'host' | 'path' | 'httpVersion' | 'userAgent' | 'referer'>;

export function requestFacts({ method, version, fields }: ExchangeRequest, subject: Subject | undefined): Facts {
  return {
    serviceId: subject?.service?.id,
    protocol: 'http',
    method: method.slice(0, LOG_TEXT),
    host: (subject?.host ?? '').slice(0, LOG_TEXT),
    path: (subject?.path ?? '').slice(0, LOG_TEXT),
    httpVersion: version,
    userAgent: fieldValue(fields, 'user-agent')?.slice(0, LOG_TEXT),
    referer: redactReferer(fieldValue(fields, 'referer') ?? '').slice(0, LOG_TEXT) || undefined,
  };
}

/** How a caller proved who it is, with the name of the paired device. */
export function authMethodOf({ method, device }: Identity): string {
  return device === undefined ? method : `${method}:${device}`;
}
