// The control plane's face to the CLI. Its parts are loaded when it is started: a help text or a wrong setting needs none of them.
import type { Logger } from '#lib/log.ts';
import type { policyOf } from './api/policy-body.ts';
import type { ServerConfig } from './config.ts';
import type { RunningServer } from './server.ts';

export { serverSchema } from './config.ts';

/** Starts the control plane; see server.ts. */
export async function startServer(config: ServerConfig, deps: { readonly log: Logger }): Promise<RunningServer> {
  const { startServer: start } = await import('./server.ts');
  return start(config, deps);
}

/** The access policy in a service's body, as a gateway gets it; see api/policy-body.ts. */
export async function readPolicy(body: Readonly<Record<string, unknown>>): Promise<ReturnType<typeof policyOf>> {
  const part = await import('./api/policy-body.ts');
  return part.policyOf(body);
}
