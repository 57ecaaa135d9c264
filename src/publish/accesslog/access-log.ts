// The access log: one record for each request or flow, given to every sink. Writing it never delays or fails a request.
import type { Closable } from '#lib/lifecycle.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import { LOG_TEXT } from '../constants.ts';

/** Takes records without waiting; what it cannot keep it drops and counts. */
export interface AccessLogSink extends Closable {
  push(entry: AccessLogEntry): void;
  /** Records lost since the start. */
  readonly dropped: number;
  /** Records that wait to be written or taken. */
  readonly waiting: number;
}

/** One sink for several. Text that strangers chose is made safe to show, once for all of them. */
export function createAccessLog(sinks: readonly AccessLogSink[]): AccessLogSink {
  return {
    push(entry) {
      const safe = sanitize(entry);
      for (const sink of sinks) sink.push(safe);
    },
    get dropped() {
      return sinks.reduce((sum, sink) => sum + sink.dropped, 0);
    },
    get waiting() {
      return sinks.reduce((sum, sink) => sum + sink.waiting, 0);
    },
    close: async () => {
      await Promise.all(sinks.map((sink) => sink.close()));
    },
  };
}

/** Caps what strangers chose, removes queries and service tokens from paths, and shows controls and bytes beyond ASCII as escapes. */
function sanitize(entry: AccessLogEntry): AccessLogEntry {
  const { method, host, path, reason } = entry;
  // Nearly all are safe as they are.
  if (isSafe(method) && isSafe(host) && isSafe(reason) && isSafe(path) && !path.includes('?') && !path.includes('nb')) return entry;
  return { ...entry, method: visible(method), host: visible(host), path: redactPath(visible(path)), reason: visible(reason) };
}

function isSafe(text: string): boolean {
  if (text.length > LOG_TEXT) return false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x20 || code > 0x7e) return false;
  }
  return true;
}

function visible(text: string): string {
  const short = text.length > LOG_TEXT ? `${text.slice(0, LOG_TEXT)}…` : text;
  return /^[\x20-\x7e]*$/.test(short)
    ? short
    : short.replaceAll(/[^\x20-\x7e…]/g, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

function redactPath(path: string): string {
  const mark = path.indexOf('?');
  const bare = mark < 0 ? path : path.slice(0, mark);
  return bare.includes('nb') ? bare.replaceAll(/nb[a-z]_[0-9A-Za-z]{8,}/g, '[redacted]') : bare;
}
