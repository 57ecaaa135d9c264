// What policies are decided by besides the request, as this gateway is configured.
import type { Clock } from '#lib/clock.ts';
import type { Scope } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import { noReputation, RateLimits, type Surroundings } from '#publish/index.ts';
import type { GatewayConfig } from './config.ts';
import { readConfigured } from './configured-file.ts';
import { CrowdsecBouncer } from './crowdsec/bouncer.ts';
import { gatewayError } from './errors.ts';
import { openGeo } from './geo/geo.ts';

export interface GatewaySurroundings extends Surroundings {
  /** Undefined where none is configured. */
  readonly crowdsec: CrowdsecBouncer | undefined;
}

/** GATEWAY_CROWDSEC_KEY, GATEWAY_FILE_UNREADABLE. Data bases that cannot be read are no error: what asks for them is denied until they can. */
export async function openSurroundings(
  { geo: files, crowdsec: { url, keyFile } }: Pick<GatewayConfig, 'geo' | 'crowdsec'>,
  scope: Scope,
  { clock, log }: { readonly clock: Clock; readonly log: Logger },
): Promise<GatewaySurroundings> {
  const geo = await openGeo(files, scope, { clock, log: log.with({ part: 'geo' }) });
  if (url !== undefined && keyFile === undefined) throw gatewayError('GATEWAY_CROWDSEC_KEY');
  const crowdsec =
    url === undefined || keyFile === undefined
      ? undefined
      : scope.use(new CrowdsecBouncer({ url, key: (await readConfigured(keyFile)).trim(), log: log.with({ part: 'crowdsec' }) }));
  crowdsec?.start();
  return {
    clock,
    geo,
    reputation: crowdsec ?? noReputation,
    crowdsec,
    limits: new RateLimits(clock),
    version: () => geo.version() + (crowdsec?.version() ?? 0),
  };
}
