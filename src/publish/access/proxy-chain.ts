// What trusted proxies before us say of a request's way: X-Forwarded-For, and Forwarded (RFC 7239). From anybody else it is not even read.
import { formatIp, parseIp, unmapIp, type IpAddress } from '#lib/ip.ts';
import { joinedValue, type Fields } from '#wire/http1-fields.ts';

export interface ProxyChain {
  /** Who asked whom, the first on the left; text of proxies, not always an address. */
  readonly nodes: readonly string[];
  /** The members of Forwarded that say the same, as the proxies wrote them; undefined where there are none. */
  readonly members: readonly string[] | undefined;
}

/**
 * The chain, or undefined where nothing is said. Most proxies know one of the two fields and pass the other on as a stranger wrote it: where
 * both are there, X-Forwarded-For is what counts, and Forwarded is kept only if it names the same addresses.
 */
export function readChain(fields: Fields): ProxyChain | undefined {
  const forwardedFor = joinedValue(fields, 'x-forwarded-for');
  const forwarded = joinedValue(fields, 'forwarded');
  if (forwardedFor === undefined && forwarded === undefined) return undefined;
  const members = forwarded === undefined ? undefined : readForwarded(forwarded);
  const said = members?.map(({ node }) => node);
  if (forwardedFor === undefined) return { nodes: said ?? [''], members: members?.map(({ text }) => text) };
  const nodes = forwardedFor.split(',').map((node) => node.trim());
  const agrees = said !== undefined && said.length === nodes.length && nodes.every((node, i) => sameNode(node, said[i] ?? ''));
  return { nodes, members: agrees ? members?.map(({ text }) => text) : undefined };
}

/** The address of a node: bare, or with a port, IPv6 in brackets then (RFC 7239 §6). Undefined for `unknown`, `_hidden` and what is none. */
export function nodeAddress(node: string): IpAddress | undefined {
  const bracketed = /^\[([^\]]*)\](?::[A-Za-z0-9._-]+)?$/.exec(node)?.[1];
  const text = bracketed ?? /^([0-9.]+):[A-Za-z0-9._-]+$/.exec(node)?.[1] ?? node;
  const zone = text.indexOf('%');
  const ip = parseIp(zone < 0 ? text : text.slice(0, zone));
  if (ip === undefined || (bracketed !== undefined && !text.includes(':'))) return undefined;
  return unmapIp(ip);
}

/** A node as a member of X-Forwarded-For. */
export function plainNode(node: string): string {
  const ip = nodeAddress(node);
  return ip === undefined ? 'unknown' : formatIp(ip);
}

/** A node as the value of `for`; what a proxy says that is no address stays hidden. */
export function forwardedNode(node: string): string {
  const text = plainNode(node);
  return text.includes(':') ? `"[${text}]"` : text;
}

function sameNode(a: string, b: string): boolean {
  return plainNode(a) === plainNode(b);
}

interface Member {
  readonly text: string;
  readonly node: string;
}

/** token = ( token / quoted-string ), RFC 7239 §4. */
const pair =
  /[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:([!#$%&'*+.^_`|~0-9A-Za-z-]+)|"((?:[\t \x21\x23-\x5b\x5d-\x7e]|\\[\t \x21-\x7e])*)")[ \t]*([;,]|$)/y;

/** The members of Forwarded, or undefined where any of it breaks the grammar: then nothing in it can be told apart. */
function readForwarded(value: string): readonly Member[] | undefined {
  const members: Member[] = [];
  let start = 0;
  let node: string | undefined;
  for (let at = 0; ;) {
    pair.lastIndex = at;
    const found = pair.exec(value);
    if (found === null) return undefined;
    const [, name = '', token, quoted, end] = found;
    at = pair.lastIndex;
    if (name.toLowerCase() === 'for') {
      if (node !== undefined) return undefined;
      node = token ?? (quoted ?? '').replaceAll(/\\(.)/g, '$1');
    }
    if (end === ';') continue;
    members.push({ text: value.slice(start, end === ',' ? at - 1 : at).trim(), node: node ?? 'unknown' });
    if (end !== ',') return members;
    start = at;
    node = undefined;
  }
}
