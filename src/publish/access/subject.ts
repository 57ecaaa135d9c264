// What the checks look at, worked out once per request from one parse. A request whose target or host cannot mean one thing is malformed.
import type { IpAddress } from '#lib/ip.ts';
import type { PublicKey } from '#model/ids.ts';
import { fieldValue } from '#wire/http1-fields.ts';
import { canonicalHost } from '../http/host.ts';
import { allowedMethods, findRoute, type PublishedService, type RouteTable, type ServiceRoute } from '../http/routes.ts';
import type { Client, ExchangeRequest } from '../http/exchange.ts';
import type { ShownCertificate } from '../tls/client-certificates.ts';
import { splitDevicePath } from './device-path.ts';
import { readOwnCookies, type OwnCookies } from './cookies.ts';

export interface Subject {
  readonly method: string;
  readonly request: ExchangeRequest;
  /** Canonical. */
  readonly host: string;
  /** Canonical, undefined without TLS. */
  readonly serverName: string | undefined;
  /** What the client has shown of itself in the handshake. */
  readonly shown: ShownCertificate | undefined;
  /** Of the peer that the request came from, where it came over the mesh. */
  readonly meshPeer: PublicKey | undefined;
  /** Path and query of the target, bytes as sent; the query has its question mark or is empty. */
  readonly path: string;
  readonly query: string;
  readonly service: PublishedService | undefined;
  readonly route: ServiceRoute | undefined;
  /** Where only the method finds no route: those that do. */
  readonly methods: readonly string[] | undefined;
  /** Undefined where it cannot be told. */
  readonly address: IpAddress | undefined;
  readonly cookies: OwnCookies;
  /** A paired device's, out of the path: not part of `path` any more. */
  readonly deviceSecret: string | undefined;
  /** A service token, and the field that brought it. */
  readonly token: { readonly plain: string; readonly key: 'authorization' | 'x-meshgate-token' } | undefined;
}

export type Malformed = 'host_malformed' | 'target_malformed' | 'target_host_mismatch' | 'token_repeated';

/** Reads the subject, or tells what makes the request ambiguous. */
export function readSubject(
  request: ExchangeRequest,
  { serverName, shown, meshPeer }: Pick<Client, 'serverName' | 'shown' | 'meshPeer'>,
  address: IpAddress | undefined,
  routes: RouteTable,
): Subject | Malformed {
  const host = routes.host(request.authority);
  if (host === undefined) return 'host_malformed';
  let target = request.target;
  if (target.charCodeAt(0) !== 0x2f) {
    // Absolute-form (RFC 9112 §3.2.2): the same request as origin-form, if it names the same host.
    const absolute = /^https?:\/\/([^/?#]*)(.*)$/i.exec(target);
    if (absolute !== null) {
      if (canonicalHost(absolute[1] ?? '') !== host) return 'target_host_mismatch';
      target = absolute[2] ?? '';
      if (!target.startsWith('/')) target = `/${target}`;
    } else if (!(target === '*' && request.method === 'OPTIONS') && request.method !== 'CONNECT') {
      return 'target_malformed';
    }
  }
  const mark = target.indexOf('?');
  const { path, secret: deviceSecret } = splitDevicePath(mark < 0 ? target : target.slice(0, mark));
  const service = routes.service(host);
  const route = service === undefined ? undefined : findRoute(service, path, request);
  const cookieValues: string[] = [];
  let headerToken: string | undefined;
  const { keys, values } = request.fields;
  for (let i = 0; i < keys.length; i++) {
    if (keys[i] === 'cookie') {
      cookieValues.push(values[i] ?? '');
    } else if (keys[i] === 'x-meshgate-token') {
      if (headerToken !== undefined) return 'token_repeated';
      headerToken = values[i];
    }
  }
  const bearer = bearerToken(fieldValue(request.fields, 'authorization'));
  return {
    method: request.method,
    request,
    host,
    serverName,
    shown,
    meshPeer,
    path,
    query: mark < 0 ? '' : target.slice(mark),
    service,
    route,
    methods: service === undefined || route !== undefined ? undefined : allowedMethods(service, path, request),
    address,
    cookies: readOwnCookies(cookieValues),
    deviceSecret,
    token:
      headerToken !== undefined
        ? { plain: headerToken, key: 'x-meshgate-token' }
        : bearer === undefined
          ? undefined
          : { plain: bearer, key: 'authorization' },
  };
}

/** Only tokens of our own form: any other bearer token is the application's business. */
function bearerToken(authorization: string | undefined): string | undefined {
  return authorization === undefined ? undefined : /^bearer +(nbp_[^ ]+) *$/i.exec(authorization)?.[1];
}
