// What happened: the audit log of changes, and the access log of the gateways with its pages and filters.
import { convert, integer, object, oneOf, optional, type Schema, string } from '#lib/schema.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import type { ServiceId } from '#model/ids.ts';
import type { AccessLogQuery, AuditEvent } from '../domain/contract.ts';
import { ok, readQuery, type Handler } from './call.ts';
import { defaultPageSize, maxPageSize } from './constants.ts';
import { idField, present, time, unsupported } from './fields.ts';

/** RFC 3339, or a date alone, as wall-clock milliseconds. */
const instant: Schema<number> = convert(string({ max: 40 }), (text, refuse) => {
  const ms = /^[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T|$)/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(ms) ? refuse('must be a time such as 2026-01-31T12:00:00Z') : ms;
});

const text = (): Schema<string | undefined> => optional(string({ max: 255 }));

const proxyQuery = object({
  page: integer({ min: 1, max: 1_000_000, default: 1 }),
  page_size: integer({ min: 1, max: maxPageSize, default: defaultPageSize }),
  /** The order is by time, newest first; asking for exactly that is fine. */
  sort_by: oneOf(['timestamp'], { default: 'timestamp' }),
  sort_order: oneOf(['desc'], { default: 'desc' }),
  search: text(),
  source_ip: text(),
  host: text(),
  path: text(),
  user_id: text(),
  user_email: text(),
  user_name: unsupported(),
  method: text(),
  service_id: optional(idField<ServiceId>()),
  status: optional(oneOf(['success', 'failed'])),
  status_code: optional(integer({ min: 0, max: 599 })),
  start_date: optional(instant),
  end_date: optional(instant),
});

function auditShape(event: AuditEvent): Readonly<Record<string, unknown>> {
  return {
    id: event.id,
    timestamp: time(event.timestamp),
    activity: event.activity,
    activity_code: event.activityCode,
    initiator_id: event.initiatorId,
    initiator_name: event.initiatorName,
    initiator_email: event.initiatorEmail,
    target_id: event.targetId,
    meta: event.meta,
  };
}

function accessShape(entry: AccessLogEntry): Readonly<Record<string, unknown>> {
  return {
    id: entry.id,
    service_id: entry.serviceId ?? '',
    timestamp: time(entry.timestamp),
    method: entry.method,
    host: entry.host,
    path: entry.path,
    duration_ms: Math.round(entry.durationMs),
    status_code: entry.status,
    source_ip: entry.sourceIp,
    reason: entry.reason,
    user_id: entry.userId,
    auth_method_used: entry.authMethod,
    bytes_upload: entry.bytesUp,
    bytes_download: entry.bytesDown,
    protocol: entry.protocol,
  };
}

export const listAuditEvents: Handler = async ({ domain }) => ok((await domain.events.audit()).map(auditShape));

export const listProxyEvents: Handler = async (call) => {
  const filter = readQuery(call, proxyQuery);
  const query = present({
    page: filter.page,
    pageSize: filter.page_size,
    search: filter.search,
    sourceIp: filter.source_ip,
    host: filter.host,
    path: filter.path,
    userId: filter.user_id,
    userEmail: filter.user_email,
    method: filter.method?.toUpperCase(),
    serviceId: filter.service_id,
    outcome: filter.status,
    statusCode: filter.status_code,
    from: filter.start_date,
    to: filter.end_date,
  }) as unknown as AccessLogQuery;
  const { entries, total } = await call.domain.events.accessLog(query);
  return ok({
    data: entries.map(accessShape),
    page: filter.page,
    page_size: filter.page_size,
    total_records: total,
    total_pages: Math.ceil(total / filter.page_size),
  });
};
