// Where a gateway's spans go: to the collector that is configured, or nowhere.
import { request } from 'undici';
import type { Clock } from '#lib/clock.ts';
import type { Logger } from '#lib/log.ts';
import { SpanExporter } from '#publish/index.ts';
import { gatewayError } from '../errors.ts';

export interface CollectorSettings {
  readonly collector: URL;
  /** The value of Authorization, where the collector asks for one. */
  readonly authorization: string | undefined;
}

export function openSpanExporter(
  settings: CollectorSettings,
  deps: { readonly version: string; readonly clock: Clock; readonly log: Logger },
): SpanExporter {
  const { collector, authorization } = settings;
  const headers = { 'content-type': 'application/json', ...(authorization === undefined ? {} : { authorization }) };
  return new SpanExporter({
    ...deps,
    send: async (body, signal) => {
      const answer = await request(collector, { method: 'POST', headers, body, signal });
      await answer.body.dump();
      if (answer.statusCode >= 300) throw gatewayError('GATEWAY_COLLECTOR', `status ${answer.statusCode}`);
    },
  });
}
