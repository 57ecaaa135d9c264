// The gateway's face to the CLI.
export { gatewaySchema } from './config.ts';
export { startGateway } from './gateway.ts';
