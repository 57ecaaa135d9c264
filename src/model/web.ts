// What a web service may ask of its gateway beyond NetBird's shapes. Stock gateways cannot be told of it.
import type { ClientCertificateRule } from './client-certificate.ts';

/** The version of our own description of web services on the wire. A gateway is not sent a version that it does not know. */
export const webVersion = 2;

/** Which requests a route takes besides those below its path. All that is named has to hold. */
export interface RouteMatch {
  /** The path alone, nothing below it. */
  readonly exact: boolean;
  /** Methods in upper case; empty for all. */
  readonly methods: readonly string[];
  /** Fields that have to be there, with this value where one is named. */
  readonly headers: readonly HeaderMatch[];
}

export interface HeaderMatch {
  readonly name: string;
  readonly value: string | undefined;
}

export const matchesAll: RouteMatch = { exact: false, methods: [], headers: [] };

/**
 * What becomes of the path: the route's prefix taken off, kept, or replaced; or the part behind the prefix rewritten by a regular expression
 * that is matched in linear time.
 */
export type PathRewrite =
  | 'strip'
  | 'preserve'
  | { readonly kind: 'replace'; readonly prefix: string }
  | { readonly kind: 'regex'; readonly pattern: string; readonly replacement: string };

/** How a gateway checks and shows itself at an https target. PEM texts. */
export interface UpstreamTls {
  /** Roots to trust instead of the system's. */
  readonly ca: string | undefined;
  /** Asked for and checked instead of the target's host. */
  readonly serverName: string | undefined;
  readonly clientCertificate: string | undefined;
  /** A secret: kept sealed, and given to gateways only. */
  readonly clientKey: string | undefined;
}

export const plainTls: UpstreamTls = { ca: undefined, serverName: undefined, clientCertificate: undefined, clientKey: undefined };

/** Changes to header fields: first removed, then set (in place of all of that name), then added. */
export interface HeaderEdits {
  readonly remove: readonly string[];
  readonly set: Readonly<Record<string, string>>;
  readonly add: Readonly<Record<string, string>>;
}

export const noEdits: HeaderEdits = { remove: [], set: {}, add: {} };

/** A route that the gateway answers itself. */
export interface OwnAnswer {
  readonly path: string;
  readonly match: RouteMatch;
  readonly answer:
    | { readonly kind: 'respond'; readonly status: number; readonly contentType: string; readonly body: string }
    /** `keepPath` appends what is behind the route's path, and the query. */
    | { readonly kind: 'redirect'; readonly status: (typeof redirectStatuses)[number]; readonly location: string; readonly keepPath: boolean };
}

export const redirectStatuses = [301, 302, 303, 307, 308] as const;

/** Statuses that may say that another target could do better: 502, 503 and 504 of RFC 9110. */
export const retryStatuses = [502, 503, 504] as const;
export type RetryStatus = (typeof retryStatuses)[number];

export const balancingStrategies = ['round_robin', 'least_requests', 'random'] as const;
export const stickyKinds = ['off', 'cookie', 'address'] as const;

export interface Balancing {
  readonly strategy: (typeof balancingStrategies)[number];
  /** What ties a visitor to one target. */
  readonly sticky: (typeof stickyKinds)[number];
}

/** Asking each target by itself how it is. */
export interface HealthCheck {
  readonly path: string;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** So many good answers in a row bring a target back, so many bad ones take it out. */
  readonly healthyAfter: number;
  readonly unhealthyAfter: number;
  /** Lowest and highest status that count as good. */
  readonly statuses: readonly [number, number];
}

/** Taking a target out for a time because of what requests met there. Never the last one. */
export interface Ejection {
  /** Failures in a row; 0 switches it off. */
  readonly failures: number;
  readonly ejectMs: number;
}

export interface WebLimits {
  readonly maxBodyBytes: number | undefined;
  /** From the request's head to the answer's head. */
  readonly answerMs: number | undefined;
  /** Without a byte in either direction, upgraded streams included. */
  readonly idleMs: number | undefined;
  /** Requests in work at once at one gateway. */
  readonly maxConcurrent: number | undefined;
}

export interface WebOptions {
  readonly requestHeaders: HeaderEdits;
  readonly responseHeaders: HeaderEdits;
  /** Domain and Path of the target's cookies as the visitor sees them. */
  readonly rewriteCookies: boolean;
  readonly compression: boolean;
  readonly answers: readonly OwnAnswer[];
  readonly balancing: Balancing;
  readonly healthCheck: HealthCheck | undefined;
  readonly ejection: Ejection;
  /** How often a request that is safe to repeat is tried at another target. */
  readonly retries: number;
  /** Answers that are tried again at another target, where the request is safe to repeat; none of them reaches the visitor then. */
  readonly retryOn: readonly RetryStatus[];
  /** A target that is new or well again gets its full share after so long; 0 at once. Visitors that are tied to a target come back at once. */
  readonly slowStartMs: number;
  readonly limits: WebLimits;
  /** Asked for in the handshake of the service's hosts. */
  readonly clientCertificate: ClientCertificateRule | undefined;
}

export const defaultWeb: WebOptions = {
  requestHeaders: noEdits,
  responseHeaders: noEdits,
  rewriteCookies: false,
  compression: false,
  answers: [],
  balancing: { strategy: 'round_robin', sticky: 'off' },
  healthCheck: undefined,
  ejection: { failures: 5, ejectMs: 30_000 },
  retries: 1,
  retryOn: [],
  slowStartMs: 0,
  limits: { maxBodyBytes: undefined, answerMs: undefined, idleMs: undefined, maxConcurrent: undefined },
  clientCertificate: undefined,
};
