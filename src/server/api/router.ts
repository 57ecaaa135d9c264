// Finds the route of a request: literal parts before parameters, and the methods that a path has for 405 and OPTIONS.
import type { Method, Route } from './routes.ts';

interface Node {
  readonly literals: Map<string, Node>;
  parameter: { readonly name: string; readonly node: Node } | undefined;
  readonly routes: Map<Method, Route>;
}

export type Found =
  | { readonly kind: 'route'; readonly route: Route; readonly params: Readonly<Record<string, string>> }
  | { readonly kind: 'other-methods'; readonly allow: readonly string[] }
  | { readonly kind: 'malformed' }
  | { readonly kind: 'nothing' };

export class Router {
  readonly #root: Node = emptyNode();

  /** Two routes with one method and path, or two names for one parameter, are a programming error. */
  constructor(routes: readonly Route[]) {
    for (const route of routes) {
      const node = route.path.split('/').slice(1).reduce(step, this.#root);
      if (node.routes.has(route.method)) throw new TypeError(`two routes for ${route.method} ${route.path}`);
      node.routes.set(route.method, route);
    }
  }

  /** `path` is what stands behind `/api`, still percent-encoded. One slash at the end is as none. */
  find(method: string, path: string): Found {
    const parts = path.replace(/\/$/, '').split('/').slice(1);
    const params: [string, string][] = [];
    let node = this.#root;
    for (const part of parts) {
      const literal = node.literals.get(part);
      if (literal !== undefined) node = literal;
      else if (node.parameter === undefined || part === '') return { kind: 'nothing' };
      else {
        const text = decode(part);
        if (text === undefined) return { kind: 'malformed' };
        params.push([node.parameter.name, text]);
        node = node.parameter.node;
      }
    }
    if (node.routes.size === 0) return { kind: 'nothing' };
    const route = node.routes.get((method === 'HEAD' ? 'GET' : method) as Method);
    return route === undefined
      ? { kind: 'other-methods', allow: [...node.routes.keys(), 'OPTIONS'] }
      : { kind: 'route', route, params: Object.fromEntries(params) };
  }
}

function emptyNode(): Node {
  return { literals: new Map(), parameter: undefined, routes: new Map() };
}

function step(node: Node, part: string): Node {
  if (!part.startsWith(':')) {
    const next = node.literals.get(part) ?? emptyNode();
    node.literals.set(part, next);
    return next;
  }
  node.parameter ??= { name: part.slice(1), node: emptyNode() };
  if (node.parameter.name !== part.slice(1)) throw new TypeError(`${part} is called ${node.parameter.name} elsewhere`);
  return node.parameter.node;
}

function decode(part: string): string | undefined {
  try {
    return decodeURIComponent(part);
  } catch {
    return undefined;
  }
}
