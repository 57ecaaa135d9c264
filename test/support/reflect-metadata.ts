// The three functions of the Reflect Metadata proposal that tsyringe, a dependency of @peculiar/x509, insists on finding.
// Import it before @peculiar/x509. It keeps nothing alive and adds nothing where a real polyfill is already loaded.

type Target = object;
const metadata = new WeakMap<Target, Map<string | symbol, unknown>>();

function own(key: string | symbol, target: Target): unknown {
  return metadata.get(target)?.get(key);
}

function inherited(key: string | symbol, target: Target): unknown {
  for (let at: Target | null = target; at !== null; at = Object.getPrototypeOf(at) as Target | null) {
    if (metadata.get(at)?.has(key) === true) return own(key, at);
  }
  return undefined;
}

function define(key: string | symbol, value: unknown, target: Target): void {
  const entries = metadata.get(target) ?? new Map<string | symbol, unknown>();
  entries.set(key, value);
  metadata.set(target, entries);
}

if (!('getMetadata' in Reflect)) Object.assign(Reflect, { getMetadata: inherited, getOwnMetadata: own, defineMetadata: define });
