// One line per event, as JSON, secrets redacted. Everything that logs takes a Logger; only processes make one.
import { pino } from 'pino';

export type LogFields = Readonly<Record<string, unknown>>;

export interface Logger {
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
  /** The same log with fields that every line carries. */
  with(fields: LogFields): Logger;
}

export const logLevels = ['debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

/** Field names whose values never reach a log, at the top and one level down. */
const secretFields = ['password', 'secret', 'token', 'cookie', 'authorization', 'setupKey', 'privateKey', 'presharedKey', 'pin', 'clientSecret'];

/** A logger to standard error: standard output belongs to what a command prints. */
export function createLogger(level: LogLevel, component: string): Logger {
  const paths = secretFields.flatMap((name) => [name, `*.${name}`]);
  const root = pino({ level, base: { component }, redact: { paths, censor: '[redacted]' } }, pino.destination({ dest: 2, sync: true }));
  return wrap(root);
}

function wrap(inner: pino.Logger): Logger {
  return {
    debug: (event, fields) => inner.debug(fields ?? {}, event),
    info: (event, fields) => inner.info(fields ?? {}, event),
    warn: (event, fields) => inner.warn(fields ?? {}, event),
    error: (event, fields) => inner.error(fields ?? {}, event),
    with: (fields) => wrap(inner.child(fields)),
  };
}

/** Drops everything; for tests and for parts whose caller has no log. */
export const silentLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  with: () => silentLogger,
};
