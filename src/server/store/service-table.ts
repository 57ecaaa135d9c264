// Published services, and what each gateway says of them.
import { asId, type ProxyId, type ServiceId } from '#model/ids.ts';
import { defaultTargetOptions, placeOf, type Service, type ServiceMode } from '#model/service.ts';
import type { ServiceState, ServiceStatus } from '#model/status.ts';
import { plainAccess } from '#model/access.ts';
import { defaultStream, listenPorts } from '#model/stream.ts';
import { defaultWeb } from '#model/web.ts';
import type { Row, Sql } from './database.ts';
import { countRows, deleteRow, flag, insertRow, json, number, optionalNumber, optionalText, text, updateRow, upsertRow } from './row.ts';

/** What is kept as JSON, as nothing searches it. Peer targets have an empty host: it follows from the peer. */
type ServiceBody = Pick<
  Service,
  | 'portAutoAssigned'
  | 'targets'
  | 'passHostHeader'
  | 'rewriteRedirects'
  | 'auth'
  | 'issuers'
  | 'restrictions'
  | 'access'
  | 'private'
  | 'accessGroups'
  | 'tlsAt'
  | 'web'
  | 'stream'
>;

/** A service as it is stored: whose account it is and how it does is known elsewhere. */
export type ServiceRecord = Omit<Service, 'accountId' | 'status' | 'exposure'>;

/** What one gateway says of a service. */
export interface GatewayReport extends ServiceStatus {
  readonly proxyId: ProxyId;
  /** The name of the token that the gateway came with; undefined where gateway or token are gone. */
  readonly token: string | undefined;
}

export class ServiceTable {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  async list(): Promise<readonly ServiceRecord[]> {
    return (await this.#sql.query('SELECT * FROM services ORDER BY name, id')).map(parseService);
  }

  async listEnabled(cluster?: string): Promise<readonly ServiceRecord[]> {
    const rows =
      cluster === undefined
        ? await this.#sql.query('SELECT * FROM services WHERE enabled = 1 ORDER BY id')
        : await this.#sql.query('SELECT * FROM services WHERE enabled = 1 AND cluster = ? ORDER BY id', [cluster]);
    return rows.map(parseService);
  }

  /** Enabled services whose record has one of these ids anywhere in it: few of many, still to be looked at. */
  async listNaming(ids: readonly string[]): Promise<readonly ServiceRecord[]> {
    const where = ids.map(() => 'body LIKE ?').join(' OR ');
    const patterns = ids.map((id) => `%${id}%`);
    return (await this.#sql.query(`SELECT * FROM services WHERE enabled = 1 AND (${where}) ORDER BY id`, patterns)).map(parseService);
  }

  async find(id: ServiceId): Promise<ServiceRecord | undefined> {
    const [row] = await this.#sql.query('SELECT * FROM services WHERE id = ?', [id]);
    return row === undefined ? undefined : parseService(row);
  }

  async listByDomain(domain: string): Promise<readonly ServiceRecord[]> {
    return (await this.#sql.query('SELECT * FROM services WHERE domain = ? ORDER BY id', [domain])).map(parseService);
  }

  /** Ports in use at a cluster, with the service that has each. */
  async ports(cluster: string, mode: ServiceMode): Promise<ReadonlyMap<number, Pick<ServiceRecord, 'id' | 'name'>>> {
    const where = 'cluster = ? AND mode = ? AND listen_port IS NOT NULL';
    const rows = await this.#sql.query(`SELECT * FROM services WHERE ${where}`, [cluster, mode]);
    return new Map(
      rows
        .map(parseService)
        .flatMap(({ id, name, listenPort, stream }) => listenPorts(listenPort, stream.portRanges).map((port) => [port, { id, name }])),
    );
  }

  async count(): Promise<number> {
    return await countRows(this.#sql, 'services');
  }

  /** The service's session key, encrypted. */
  async sessionKey(id: ServiceId): Promise<string | undefined> {
    const [row] = await this.#sql.query('SELECT session_key FROM services WHERE id = ?', [id]);
    return row === undefined ? undefined : text(row, 'session_key');
  }

  async insert(service: ServiceRecord, sessionKey: string): Promise<void> {
    await insertRow(this.#sql, 'services', { id: service.id, ...columns(service), session_key: sessionKey, created_at: service.createdAt });
  }

  async update(service: ServiceRecord): Promise<void> {
    await updateRow(this.#sql, 'services', service.id, columns(service));
  }

  async setCertificateIssued(id: ServiceId, at: number): Promise<void> {
    await this.#sql.execute('UPDATE services SET certificate_issued_at = ? WHERE id = ? AND certificate_issued_at IS NULL', [at, id]);
  }

  async delete(id: ServiceId): Promise<boolean> {
    return await deleteRow(this.#sql, 'services', id);
  }

  async setStatus(id: ServiceId, proxyId: ProxyId, status: ServiceStatus, at: number): Promise<void> {
    const row = { service_id: id, proxy_id: proxyId, state: status.state, reason: status.reason, at };
    await upsertRow(this.#sql, 'service_status', ['service_id', 'proxy_id'], row);
  }

  /** What the gateways say, by service; of one service or of all. */
  async statuses(one?: ServiceId): Promise<ReadonlyMap<ServiceId, readonly GatewayReport[]>> {
    const all = new Map<ServiceId, GatewayReport[]>();
    const rows = await this.#sql.query(
      `SELECT service_status.*, proxy_tokens.name AS token_name FROM service_status
        LEFT JOIN proxies ON proxies.id = service_status.proxy_id LEFT JOIN proxy_tokens ON proxy_tokens.id = proxies.token_id
        ${one === undefined ? '' : 'WHERE service_id = ?'} ORDER BY at`,
      one === undefined ? [] : [one],
    );
    for (const row of rows) {
      const id = asId<ServiceId>(text(row, 'service_id'));
      const reports = all.get(id) ?? [];
      if (reports.length === 0) all.set(id, reports);
      reports.push({
        proxyId: asId(text(row, 'proxy_id')),
        token: optionalText(row, 'token_name'),
        state: text(row, 'state') as ServiceState,
        reason: text(row, 'reason'),
      });
    }
    return all;
  }

  async clearStatuses(id: ServiceId): Promise<void> {
    await this.#sql.execute('DELETE FROM service_status WHERE service_id = ?', [id]);
  }
}

function columns(service: ServiceRecord): Record<string, string | number | boolean | object | undefined> {
  const { name, domain, mode, listenPort, cluster, enabled, certificateIssuedAt, ...rest } = service;
  const { portAutoAssigned, targets, passHostHeader, rewriteRedirects, auth, issuers, restrictions, access, accessGroups, tlsAt, web, stream } = rest;
  const body: ServiceBody = {
    portAutoAssigned,
    targets,
    passHostHeader,
    rewriteRedirects,
    auth,
    issuers,
    restrictions,
    access,
    private: rest.private,
    accessGroups,
    tlsAt,
    web,
    stream,
  };
  return { name, domain, place: placeOf(service), mode, listen_port: listenPort, cluster, enabled, body, certificate_issued_at: certificateIssuedAt };
}

/** JSON has no undefined, so what was undefined is put back where the model wants the property. */
function parseService(row: Row): ServiceRecord {
  const body = json<ServiceBody>(row, 'body');
  return {
    ...body,
    auth: { ...body.auth, password: body.auth.password, pin: body.auth.pin },
    issuers: body.issuers ?? [],
    tlsAt: body.tlsAt ?? 'gateway',
    targets: body.targets.map((target) => ({
      ...target,
      options: {
        ...defaultTargetOptions,
        ...target.options,
        requestTimeoutMs: target.options.requestTimeoutMs,
        sessionIdleTimeoutMs: target.options.sessionIdleTimeoutMs,
        tls: { ...defaultTargetOptions.tls, ...target.options.tls },
      },
    })),
    access: { ...plainAccess, ...body.access, session: { ...plainAccess.session, ...body.access?.session } },
    web: { ...defaultWeb, ...body.web, limits: { ...defaultWeb.limits, ...body.web?.limits } },
    stream: streamOf(body.stream),
    id: asId(text(row, 'id')),
    name: text(row, 'name'),
    domain: text(row, 'domain'),
    mode: text(row, 'mode') as ServiceMode,
    listenPort: optionalNumber(row, 'listen_port'),
    cluster: text(row, 'cluster'),
    enabled: flag(row, 'enabled'),
    createdAt: number(row, 'created_at'),
    certificateIssuedAt: optionalNumber(row, 'certificate_issued_at'),
  };
}

function streamOf(stored: ServiceBody['stream'] | undefined): ServiceBody['stream'] {
  const termination = stored?.termination;
  return {
    ...defaultStream,
    ...stored,
    portRanges: (stored?.portRanges ?? []).map(({ start, end, target }) => ({ start, end, target })),
    termination: termination === undefined ? undefined : { ...termination, clientCertificate: termination.clientCertificate },
    certificates: { ...defaultStream.certificates, ...stored?.certificates },
    limits: { ...defaultStream.limits, ...stored?.limits },
  };
}
