// The control plane's face to the CLI.
export { serverSchema } from './config.ts';
export { startServer } from './server.ts';
