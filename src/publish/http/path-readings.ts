// The ways in which a server behind us may read a path (attack rows P-1 to P-13): decoded or not, with dot segments, `\`, `//` and `;`.

/** What no two servers read alike; a path without any of it has one reading. */
const ambiguous = /[%\\;]|\/[./]/;

/** Times that a path is decoded: as sent, once, and once more by a server behind the server. */
const decodings = 2;

/** What some servers do with a path and others do not. No choice is the careful one: each makes `..` take back what another would not have kept. */
interface Habits {
  /** `\` separates segments. */
  readonly backslash: boolean;
  /** What some take for no part of a name is cut off it: parameters, all behind a NUL, spaces at the end. */
  readonly cutting: boolean;
  /** Empty segments are left out. */
  readonly merging: boolean;
}

const both = [true, false] as const;
const habits: readonly Habits[] = both.flatMap((backslash) => both.flatMap((cutting) => both.map((merging) => ({ backslash, cutting, merging }))));

/**
 * The readings of a path behind a prefix, each with a slash before every segment and without dot segments; undefined where one of them climbs
 * above its beginning. A path that cannot be misread is its own only reading.
 */
export function pathReadings(path: string): readonly string[] | undefined {
  if (!ambiguous.test(path)) return [path];
  const readings = new Set<string>();
  for (let text = path, round = 0; ; round++) {
    for (const habit of habits) {
      const plain = plainPath(text, habit);
      if (plain === undefined) return undefined;
      readings.add(plain);
    }
    const decoded = text.replaceAll(/%([0-9a-f]{2})/gi, (_whole, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
    if (decoded === text || round === decodings) return [...readings];
    text = decoded;
  }
}

/** Dot segments taken out as RFC 3986 §5.2.4 says, with one server's habits. A slash at the end makes no segment. */
function plainPath(text: string, { backslash, cutting, merging }: Habits): string | undefined {
  const segments = text.split(backslash ? /[/\\]/ : '/');
  const kept: string[] = [];
  // What comes before the first slash is the prefix's.
  for (let i = segments[0] === '' ? 1 : 0; i < segments.length; i++) {
    const segment = segments[i] ?? '';
    const name = cutting ? (segment.split(/[;\0]/, 1)[0] ?? '').trimEnd() : segment;
    if (name === '.' || (name === '' && (merging || i === segments.length - 1))) continue;
    if (name !== '..') kept.push(name);
    else if (kept.pop() === undefined) return undefined;
  }
  return kept.map((name) => `/${name}`).join('');
}
