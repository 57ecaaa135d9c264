// A process's log: one line per event, as JSON, secrets redacted.
import { pino } from 'pino';
import type { Logger, LogLevel } from './log.ts';

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
