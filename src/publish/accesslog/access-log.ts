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
  /** What keeps records from being kept, for the status; empty where all is well. */
  readonly problem: string;
}

/** One sink for several. Text that strangers chose is made safe to show, once for all of them. */
export function createAccessLog(sinks: readonly AccessLogSink[]): AccessLogSink {
  return {
    push(entry) {
      const safe = safeEntry(entry);
      for (const sink of sinks) sink.push(safe);
    },
    get dropped() {
      return sinks.reduce((sum, sink) => sum + sink.dropped, 0);
    },
    get waiting() {
      return sinks.reduce((sum, sink) => sum + sink.waiting, 0);
    },
    get problem() {
      return sinks
        .map((sink) => sink.problem)
        .filter((problem) => problem !== '')
        .join('; ');
    },
    close: async () => {
      await Promise.all(sinks.map((sink) => sink.close()));
    },
  };
}

/** Caps what strangers chose, removes queries, service tokens and what a referer says beyond its host, and shows controls and bytes beyond ASCII as escapes. */
export function safeEntry(entry: AccessLogEntry): AccessLogEntry {
  const { method, host, path, reason, referer, userAgent = '' } = entry;
  const plain = isSafe(path) && !path.includes('?') && !path.includes('nb') && isSafe(userAgent) && !userAgent.includes('nb');
  // Nearly all are safe as they are.
  if (plain && referer === undefined && isSafe(method) && isSafe(host) && isSafe(reason)) return entry;
  return {
    ...entry,
    method: visible(method),
    host: visible(host),
    path: redact(withoutQuery(visible(path))),
    reason: visible(reason),
    userAgent: redact(visible(userAgent)),
    referer: referer === undefined ? undefined : hostOf(referer),
  };
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

function withoutQuery(path: string): string {
  const mark = path.indexOf('?');
  return mark < 0 ? path : path.slice(0, mark);
}

function redact(text: string): string {
  return text.includes('nb') ? text.replaceAll(/nb[a-z]_[0-9A-Za-z]{8,}/g, '[redacted]') : text;
}

/** Paths and queries of other sites are none of ours, and user information is nobody's. */
function hostOf(referer: string): string {
  const match = /^[a-z][a-z0-9+.-]{0,20}:\/\/(?:[^/?#@]*@)?([\w.:[\]-]{1,255})(?:[/?#]|$)/i.exec(referer);
  return match?.[1] ?? '';
}
