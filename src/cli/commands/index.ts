// Every command of the tool, in the order of its help.
import type { AnyCommand } from '../command.ts';
import { bindProcess, processCommand } from '../processes.ts';
import { referenceCommands, type ProcessLoaders } from '../reference.ts';
import { statusCommand } from '../status.ts';
import { attackCommand } from './attack.ts';
import { connectCommands } from './connect.ts';
import { exposeCommands } from './expose.ts';
import { doctorCommand } from './doctor.ts';
import { issuerCommands } from './issuers.ts';
import { loginCommands } from './login.ts';
import { networkCommands } from './network.ts';
import { policyCommands } from './policy.ts';
import { publishCommands } from './publish.ts';
import { sessionCommands } from './sessions.ts';
import { sharingCommands } from './sharing.ts';
import { sshCommands } from './ssh.ts';
import { userCommands } from './users.ts';

/** Each process is loaded on demand: `meshgate status` needs no gateway. */
const loaders = {
  server: async () => {
    const part = await import('#server/index.ts');
    return bindProcess('server', part.serverSchema, part.startServer);
  },
  gateway: async () => {
    const part = await import('#gateway/index.ts');
    return bindProcess('gateway', part.gatewaySchema, part.startGateway);
  },
  agent: async () => {
    const part = await import('#agent/index.ts');
    return bindProcess('agent', part.agentSchema, (config, { log }) =>
      part.startAgent(config, { log, openTlsDoor: async (...door) => (await import('#gateway/index.ts')).openAgentDoor(...door) }),
    );
  },
} satisfies ProcessLoaders;

export const commands: readonly AnyCommand[] = [
  {
    name: 'start',
    summary: 'start a whole mesh on this machine: server, gateway, agent and a sample app',
    async runRaw(args, io) {
      const { runStart } = await import('../start/index.ts');
      return runStart(args, io);
    },
  },
  processCommand('server', 'run the control plane', loaders.server),
  processCommand('gateway', 'run a public proxy node', loaders.gateway),
  processCommand('agent', 'run a peer beside internal services', loaders.agent),
  statusCommand,
  ...exposeCommands,
  ...loginCommands,
  ...connectCommands,
  ...sshCommands,
  doctorCommand,
  attackCommand(),
  ...userCommands,
  ...sharingCommands,
  ...sessionCommands,
  ...issuerCommands,
  ...networkCommands,
  ...publishCommands,
  ...policyCommands,
  ...referenceCommands(loaders),
];
