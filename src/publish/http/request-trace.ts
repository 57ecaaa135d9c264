// The trace that a request belongs to: one that a trusted proxy names, or a new one.
import type { IpPrefix } from '#lib/ip.ts';
import { joinedValue } from '#wire/http1-fields.ts';
import { isTrustedPeer } from '../access/client-address.ts';
import type { Trace, Tracing } from '../tracing/trace-context.ts';
import type { Exchange } from './exchange.ts';

export function beginTrace({ client, request }: Exchange, tracing: Tracing, trustedProxies: readonly IpPrefix[]): Trace {
  const trusted = isTrustedPeer(client, trustedProxies);
  const said = (key: string): string | undefined => (trusted ? joinedValue(request.fields, key) : undefined);
  return tracing.begin(said('traceparent'), said('tracestate'));
}
