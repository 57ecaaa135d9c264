// The ways in which a server behind us may read a path (attack rows P-1 to P-13): decoded or not, with dot segments, `\`, `//` and `;`.

/** What no two servers read alike; a path without any of it has one reading. */
const ambiguous = /[%\\;]|\/[./]/;

/** Times that a path is decoded: as sent, once, and once more by a server behind the server. */
const decodings = 2;

/**
 * The plain readings of a path, each with one slash before every segment; undefined where one of them climbs above its beginning.
 * A path that cannot be misread is its own only reading.
 */
export function pathReadings(path: string): readonly string[] | undefined {
  if (!ambiguous.test(path)) return [path];
  const readings: string[] = [];
  for (let text = path, round = 0; ; round++) {
    const plain = plainPath(text);
    if (plain === undefined) return undefined;
    readings.push(plain);
    const decoded = text.replaceAll(/%([0-9a-f]{2})/gi, (_whole, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
    if (decoded === text || round === decodings) return readings;
    text = decoded;
  }
}

/** Every step that some server takes, at once: parameters cut off, empty and single-dot segments left out, `..` taking one back. */
function plainPath(text: string): string | undefined {
  const kept: string[] = [];
  for (const segment of text.split(/[/\\]/)) {
    const name = segment.split(';', 1)[0] ?? '';
    if (name === '' || name === '.') continue;
    if (name !== '..') kept.push(name);
    else if (kept.pop() === undefined) return undefined;
  }
  return kept.map((name) => `/${name}`).join('');
}
