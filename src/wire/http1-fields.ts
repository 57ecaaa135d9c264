// Header fields of HTTP/1.1 (RFC 9110 §5, RFC 9112 §5): how they are kept, read and looked up. Order and spelling stay the sender's.

/** Field lines in the order received. The three arrays have one length; `keys` holds the names in lower case. */
export interface Fields {
  readonly names: string[];
  readonly keys: string[];
  /** Without surrounding white space. One character stands for one byte (latin1). */
  readonly values: string[];
}

export function emptyFields(): Fields {
  return { names: [], keys: [], values: [] };
}

export function addField(fields: Fields, name: string, value: string): void {
  fields.names.push(name);
  fields.keys.push(name.toLowerCase());
  fields.values.push(value);
}

/** The first value of a field by its lower-case name, or undefined. */
export function fieldValue(fields: Fields, key: string): string | undefined {
  const index = fields.keys.indexOf(key);
  return index < 0 ? undefined : fields.values[index];
}

/** Every value of a list field in one text (RFC 9110 §5.3), or undefined where there is none. */
export function joinedValue(fields: Fields, key: string): string | undefined {
  const first = fields.keys.indexOf(key);
  if (first < 0) return undefined;
  if (fields.keys.indexOf(key, first + 1) < 0) return fields.values[first];
  return fields.values.filter((_value, i) => fields.keys[i] === key).join(', ');
}

/** The lower-case members of a comma-separated list of tokens; empty members are skipped (RFC 9110 §5.6.1.2). */
export function listMembers(value: string): string[] {
  const members: string[] = [];
  for (const part of value.split(',')) {
    const member = part.trim().toLowerCase();
    if (member !== '') members.push(member);
  }
  return members;
}

/** tchar of RFC 9110 §5.6.2, by character code. */
const tokenTable = new Uint8Array(256);
for (const char of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") tokenTable[char.charCodeAt(0)] = 1;

/** Whether the characters from `start` to `end` are a non-empty token. */
export function isToken(text: string, start = 0, end = text.length): boolean {
  if (start >= end) return false;
  for (let i = start; i < end; i++) {
    const code = text.charCodeAt(i);
    if (code > 0xff || tokenTable[code] === 0) return false;
  }
  return true;
}

/** Whether the text may stand as a field value on the wire: no controls but tab, no character beyond one byte. */
export function isFieldValue(text: string): boolean {
  return !/[^\t\x20-\x7e\x80-\xff]/.test(text);
}

/** What ends reading of fields early. */
export type FieldFault = 'field_malformed' | 'too_many_fields';

/**
 * Reads field lines from `at` to the end of `text`, each ended by CRLF, into `into`. The caller has made sure that there are no bare CR,
 * bare LF and other controls. Folded lines and space before the colon fail as names that are no tokens (RFC 9112 §5.1, §5.2).
 */
export function readFields(text: string, at: number, limit: number, into: Fields): FieldFault | undefined {
  const { names, keys, values } = into;
  while (at < text.length) {
    const eol = text.indexOf('\r\n', at);
    const colon = text.indexOf(':', at);
    if (colon < 0 || colon > eol || !isToken(text, at, colon)) return 'field_malformed';
    if (names.length >= limit) return 'too_many_fields';
    let start = colon + 1;
    let end = eol;
    while (start < end && isBlank(text.charCodeAt(start))) start++;
    while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
    const name = text.slice(at, colon);
    names.push(name);
    keys.push(name.toLowerCase());
    values.push(text.slice(start, end));
    at = eol + 2;
  }
  return undefined;
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}
