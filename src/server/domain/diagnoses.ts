// Tokens by which an administrator asks a gateway why a service does not work: good once, for five minutes, and for that service only. They
// live in the memory of this process, so the gateway has to be connected to the server that gave the token.
import { oneTimeTokenMs } from './constants.ts';
import { write, type Context } from './context.ts';
import type { DiagnosisUseCases } from './contract.ts';
import { domainError } from './errors.ts';
import { OneTimeTokens } from './one-time-tokens.ts';
import { doorOf } from './tls-place.ts';

/** Tokens that nobody has used yet: a doctor takes one at a time. */
const maxOpen = 1_000;

export function diagnosisUseCases(context: Context): DiagnosisUseCases {
  const tokens = new OneTimeTokens(context.clock, context.random, maxOpen);
  return {
    async issue(serviceId, actor) {
      await write(context, async ({ tables, audit }) => {
        const service = await tables.services.find(serviceId);
        if (service === undefined) throw domainError('DOMAIN_NOT_FOUND', 'service');
        await audit('service.diagnose', actor, serviceId, { service: service.name });
      });
      return { token: tokens.issue(serviceId), seconds: oneTimeTokenMs / 1_000 };
    },
    async redeem(token, serviceId, cluster) {
      const service = await context.store.read((tables) => tables.services.find(serviceId));
      return service !== undefined && doorOf(service) === cluster && tokens.redeem(token, serviceId);
    },
  };
}
