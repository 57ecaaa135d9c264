// The control plane's face to the CLI. Its parts are loaded when it is started: a help text or a wrong setting needs none of them.
import type { Logger } from '#lib/log.ts';
import type { ServerConfig } from './config.ts';
import type { RunningServer } from './server.ts';

export { serverSchema } from './config.ts';

/** Starts the control plane; see server.ts. */
export async function startServer(config: ServerConfig, deps: { readonly log: Logger }): Promise<RunningServer> {
  const { startServer: start } = await import('./server.ts');
  return start(config, deps);
}
