// `node:ffi` for the accelerators: present or not, without a word on the console. Each accelerator is one file that binds what it needs.
import type * as NodeFfi from 'node:ffi';

export type Ffi = typeof NodeFfi;

let loaded: Ffi | undefined;

/** The module, or undefined where this Node has none. Using it may still throw: Node can forbid it (`--permission`). */
export function loadFfi(): Ffi | undefined {
  if (loaded !== undefined) return loaded;
  // Node calls the module experimental once in each process. Whoever runs us reads in `status` that it is in use, and why not.
  const warn = process.emitWarning;
  process.emitWarning = () => undefined;
  try {
    loaded = process.getBuiltinModule('node:ffi');
  } catch {
    return undefined;
  } finally {
    process.emitWarning = warn;
  }
  return loaded;
}
