// Lines of the access log: JSON, and the common and combined formats that Apache and nginx write and every analyser reads.
import type { AccessLogEntry } from '#model/access-log.ts';

export const lineFormats = ['json', 'common', 'combined'] as const;
export type LineFormat = (typeof lineFormats)[number];

/** The text of one record with its line end. Texts of strangers have been made safe before. */
export function formatLine(format: LineFormat, entry: AccessLogEntry): string {
  switch (format) {
    case 'json':
      return jsonLine(entry);
    case 'common':
      return `${commonLine(entry)}\n`;
    case 'combined':
      return `${commonLine(entry)} ${quoted(entry.referer ?? '')} ${quoted(entry.userAgent ?? '')}\n`;
  }
}

/** `time` first, then the record's own fields; milliseconds to a hundredth. */
function jsonLine({ timestamp, durationMs, accessMs, dialMs, firstByteMs, ...rest }: AccessLogEntry): string {
  const times = { durationMs: rounded(durationMs), accessMs: rounded(accessMs), dialMs: rounded(dialMs), firstByteMs: rounded(firstByteMs) };
  return `${JSON.stringify({ time: new Date(timestamp).toISOString(), ...rest, ...times })}\n`;
}

function rounded(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : Math.round(ms * 100) / 100;
}

/** `host - user [time] "request" status bytes`; a stream has no request line, and the word of its protocol in that place. */
function commonLine(entry: AccessLogEntry): string {
  const { protocol, method, path, httpVersion, status, bytesDown } = entry;
  const request = protocol !== 'http' ? protocol.toUpperCase() : method === '' ? '-' : `${method} ${path} HTTP/${httpVersion ?? '1.1'}`;
  return `${word(entry.sourceIp)} - ${word(entry.userId)} [${logTime(entry.timestamp)}] ${quoted(request)} ${status === 0 ? '-' : status} ${bytesDown}`;
}

/** One word, whatever is in it. */
function word(text: string): string {
  return text === '' ? '-' : text.replaceAll(/[^\x21\x23-\x5a\x5e-\x7e]/g, '_');
}

function quoted(text: string): string {
  return text === '' ? '"-"' : `"${text.replaceAll(/["\\]/g, (sign) => `\\${sign}`)}"`;
}

const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'] as const;

/** `28/Nov/2026:09:05:36 +0000`: always UTC. */
function logTime(timestamp: number): string {
  const iso = new Date(timestamp).toISOString();
  return `${iso.slice(8, 10)}/${months[Number(iso.slice(5, 7)) - 1] ?? ''}/${iso.slice(0, 4)}:${iso.slice(11, 19)} +0000`;
}
