// What an upstream is told of the client and of the way that its request came: the X-Forwarded fields and Forwarded (RFC 7239).
import { fieldValue, type Fields } from '#wire/http1-fields.ts';
import { forwardedNode, plainNode, type ProxyChain } from '../access/proxy-chain.ts';
import { authorityPort, canonicalHost } from './host.ts';

export interface ForwardingFacts {
  /** Of the connection's other end, and of the client as far as proxies before us are believed. */
  readonly peer: string;
  readonly source: string;
  /** Host as sent to us; checked. */
  readonly authority: string;
  readonly tls: boolean;
  /** What a trusted peer said: its fields, and the chain in them. Undefined for everybody else. */
  readonly trusted: { readonly fields: Fields; readonly chain: ProxyChain | undefined } | undefined;
}

/** Field lines, each with CRLF. A trusted peer's word on protocol, host and port is kept where it is one; its chain is continued with its own address. */
export function forwardingLines({ peer, source, authority, tls, trusted }: ForwardingFacts): string {
  const proto = tls ? 'https' : 'http';
  const hop = `for=${source.includes(':') ? `"[${source}]"` : source};host="${authority}";proto=${proto}`;
  if (trusted === undefined) return lines(source, source, authority, proto, authorityPort(authority), hop);
  const { fields, chain } = trusted;
  const said = outerFacts(fields);
  const host = said.host ?? authority;
  const outerProto = said.proto ?? proto;
  const port = said.port ?? authorityPort(host);
  if (chain === undefined) return lines(source, source, host, outerProto, port, hop);
  const all = [...chain.nodes.map(plainNode), plainNode(peer)].join(', ');
  const [first = '', ...others] = chain.nodes.map((node) => `for=${forwardedNode(node)}`);
  const facts = `${said.host === undefined ? '' : `;host="${said.host}"`}${said.proto === undefined ? '' : `;proto=${said.proto}`}`;
  const members = chain.members ?? [first + facts, ...others];
  return lines(all, source, host, outerProto, port, [...members, `for=${forwardedNode(peer)};host="${authority}";proto=${proto}`].join(', '));
}

function lines(all: string, source: string, host: string, proto: string, port: string | undefined, forwarded: string): string {
  return (
    `X-Forwarded-For: ${all}\r\nX-Real-IP: ${source}\r\nX-Forwarded-Host: ${host}\r\nX-Forwarded-Proto: ${proto}\r\n` +
    `X-Forwarded-Port: ${port ?? (proto === 'https' ? '443' : '80')}\r\nForwarded: ${forwarded}\r\n`
  );
}

/** What a trusted peer says of the outermost hop, as far as each is one plain value. */
function outerFacts(fields: Fields): {
  readonly proto: 'http' | 'https' | undefined;
  readonly host: string | undefined;
  readonly port: string | undefined;
} {
  const one = (key: string): string | undefined => {
    const value = fieldValue(fields, key);
    return value === undefined || fields.keys.indexOf(key) !== fields.keys.lastIndexOf(key) ? undefined : value;
  };
  const proto = one('x-forwarded-proto')?.toLowerCase();
  const host = one('x-forwarded-host');
  const port = one('x-forwarded-port');
  return {
    proto: proto === 'http' || proto === 'https' ? proto : undefined,
    host: host !== undefined && canonicalHost(host) !== undefined ? host : undefined,
    port: port !== undefined && /^[0-9]{1,5}$/.test(port) && Number(port) <= 65_535 ? port : undefined,
  };
}
