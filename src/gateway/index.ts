// The gateway's face to the CLI.
import type { policyTrials } from '#publish/access/rules/trial.ts';

export { gatewaySchema } from './config.ts';
export { openAgentDoor } from './behind-agent.ts';
export { startGateway } from './gateway.ts';

/** How access rules decide, without a request; see publish/access/rules/trial.ts. */
export async function loadPolicyTrials(): Promise<typeof policyTrials> {
  return (await import('#publish/access/rules/trial.ts')).policyTrials;
}
