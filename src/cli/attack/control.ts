// Whose gateway it is: the server gives a one-time token to who may write the service, and only a gateway of the same account takes it.
import { describeError } from '#lib/errors.ts';
import { resolveHost } from '#lib/resolve.ts';
import type { ApiClient } from '../api-client.ts';
import { asRows } from '../api-command.ts';
import { findService, services } from '../doctor/doctor.ts';
import { askGateway } from '../doctor/probe.ts';
import { cliError } from '../errors.ts';
import { field } from '../output.ts';
import { answerMs } from './constants.ts';
import type { ProvenTarget } from './range.ts';

export interface Claim {
  readonly api: ApiClient;
  /** In lower case. */
  readonly host: string;
  readonly port: number;
  readonly ca: string | undefined;
  readonly stop: AbortSignal;
}

/** The first address of the host whose gateway takes the token. CLI_NOT_PROVEN where there is none, or no service of the caller's. */
export async function proveControl({ api, host, port, ca, stop }: Claim): Promise<ProvenTarget> {
  const service = await findService(api, host);
  if (service === undefined) throw cliError('CLI_NOT_PROVEN', `no service of yours has the host ${host}`);
  if (field(service, 'mode') !== 'http')
    throw cliError('CLI_NOT_PROVEN', `${host} is a service of ${field(service, 'mode')}; only HTTP can be proven`);
  const why: string[] = [];
  const addresses = await resolveHost(host).catch((error: unknown) => {
    throw cliError('CLI_NOT_PROVEN', `${host} has no address: ${describeError(error)}`);
  });
  for (const address of addresses.slice(0, 8)) {
    // May this caller write the service? The server refuses the token to others.
    const token = field(await api.call('POST', `${services}/${encodeURIComponent(field(service, 'id'))}/diagnosis`, {}), 'token');
    try {
      const limit = AbortSignal.any([stop, AbortSignal.timeout(2 * answerMs)]);
      const { status, body } = await askGateway({ host, address, port, ca, token, path: '/' }, limit);
      if (typeof body === 'object' && body !== null && 'steps' in body && asRows(body.steps).length > 0) return { host, address, port, ca };
      why.push(`${address} does not know the token (status ${status})`);
    } catch (error) {
      why.push(`${address}: ${describeError(error)}`);
    }
  }
  throw cliError('CLI_NOT_PROVEN', why.join('; '));
}
