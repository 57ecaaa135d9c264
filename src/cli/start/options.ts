// The flags of `meshgate start`, parsed once into what the rest of the start needs.
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { logLevels, type LogLevel } from '#lib/log.ts';
import { isLocalhostName } from '#lib/resolve.ts';
import { startError } from './errors.ts';

export interface StartOptions {
  readonly stateDir: string;
  /** The app to publish, or undefined for the sample app. */
  readonly upstream: Upstream | undefined;
  /** The public port of the gateway. */
  readonly port: number;
  /** The port of the control plane: TCP for everything, UDP for STUN. */
  readonly controlPort: number;
  /** The public name; its parent is the gateway's cluster. */
  readonly hostname: string;
  readonly logLevel: LogLevel;
}

export interface Upstream {
  readonly protocol: 'http' | 'https';
  readonly host: string;
  readonly port: number;
}

export const startHelp = `Usage: meshgate start [options]

Starts a whole mesh on this machine: control plane, gateway and agent as three processes, and a sample internal app.

  --upstream URL       publish this app instead of the sample, such as http://127.0.0.1:3000
  --hostname NAME      public name of the app, below .localhost (default app.localhost)
  --port N             public port of the gateway (default 8443)
  --control-port N     port of the control plane, TCP and UDP (default 8444)
  --state-dir DIR      where users, keys and certificates are kept (default .meshgate)
  --log-level LEVEL    ${logLevels.join(', ')} (default info); the logs go to files in the state directory
  --help               this text
`;

/** Parses the arguments after `start`; 'help' where the text is asked for. START_FLAG_INVALID says which flag and why. */
export function parseStartOptions(args: readonly string[]): StartOptions | 'help' {
  const values = parseFlags(args);
  if (values.help === true) return 'help';
  const hostname = (values.hostname ?? 'app.localhost').toLowerCase();
  if (!isLocalhostName(hostname) || hostname === 'localhost' || !/^[a-z0-9-]+(?:\.[a-z0-9-]+)*$/.test(hostname)) {
    throw startError('START_FLAG_INVALID', `--hostname ${hostname}: a name below .localhost is needed here; for a real domain see the README`);
  }
  const logLevel = logLevels.find((level) => level === (values['log-level'] ?? 'info'));
  if (logLevel === undefined) throw startError('START_FLAG_INVALID', `--log-level takes one of ${logLevels.join(', ')}`);
  const port = parsePort('--port', values.port ?? '8443');
  const controlPort = parsePort('--control-port', values['control-port'] ?? '8444');
  if (port === controlPort) throw startError('START_FLAG_INVALID', '--port and --control-port must differ');
  return {
    stateDir: resolve(values['state-dir'] ?? '.meshgate'),
    upstream: values.upstream === undefined ? undefined : parseUpstream(values.upstream),
    port,
    controlPort,
    hostname,
    logLevel,
  };
}

function parseFlags(args: readonly string[]): { readonly [name: string]: string | undefined } & { readonly help?: true } {
  try {
    const text = { type: 'string' } as const;
    const { values } = parseArgs({
      args: [...args],
      options: {
        upstream: text,
        hostname: text,
        port: text,
        'control-port': text,
        'state-dir': text,
        'log-level': text,
        help: { type: 'boolean', short: 'h' },
      },
    });
    return values as { readonly [name: string]: string | undefined } & { readonly help?: true };
  } catch (error) {
    throw startError('START_FLAG_INVALID', error instanceof Error ? error.message : String(error), error);
  }
}

function parsePort(flag: string, text: string): number {
  const port = Number(text);
  if (!/^[0-9]{1,5}$/.test(text) || port < 1 || port > 65_535) throw startError('START_FLAG_INVALID', `${flag} takes a port from 1 to 65535`);
  return port;
}

function parseUpstream(text: string): Upstream {
  const wrong = startError('START_FLAG_INVALID', `--upstream ${text}: a URL such as http://127.0.0.1:3000 is needed, with a host and no path`);
  if (!URL.canParse(text)) throw wrong;
  const url = new URL(text);
  if ((url.protocol !== 'http:' && url.protocol !== 'https:') || url.pathname !== '/' || url.search !== '' || url.username !== '') throw wrong;
  const protocol = url.protocol === 'http:' ? 'http' : 'https';
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return { protocol, host, port: url.port === '' ? (protocol === 'http' ? 80 : 443) : Number(url.port) };
}
