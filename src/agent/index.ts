// The agent's face to the CLI.
export { startAgent } from './agent.ts';
export { agentSchema } from './config.ts';
export { exposeStandalone } from './standalone.ts';
