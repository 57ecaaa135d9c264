// The file that names services to publish: YAML, or JSON, which is YAML too. What is wrong is told with its line.
import { isMap, isScalar, LineCounter, parseDocument, type Document } from 'yaml';
import { describeError } from '#lib/errors.ts';
import { convert, list, object, optional, parse, string, type Schema } from '#lib/schema.ts';
import type { Issue } from '#lib/schema-errors.ts';
import { maxFileServices, maxYamlAliases } from '../constants.ts';
import { wishFields, wishFrom } from '../wish.ts';
import type { FoundWish } from './wanted.ts';

/** A secret is in a file of its own: this one is read by many. */
const service = object({
  ...wishFields,
  passwordFile: optional(string({ about: 'File whose first line is a password.', max: 4096 })),
  pinFile: optional(string({ about: 'File whose first line is a PIN.', max: 4096 })),
});

export type ReadSecret = (path: string) => string | undefined;

export type ServicesFile =
  | { readonly ok: true; readonly wishes: ReadonlyMap<string, FoundWish> }
  /** Each as `line 3, column 5: services[0].port is not a known setting`. */
  | { readonly ok: false; readonly problems: readonly string[] };

/** `secretAt` reads the first line of a file; undefined where it cannot. */
export function parseServicesFile(text: string, secretAt: ReadSecret): ServicesFile {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, version: '1.2', merge: false });
  const at = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `line ${line}, column ${col}`;
  };
  if (document.errors.length > 0) return { ok: false, problems: document.errors.map(({ message, pos }) => `${at(pos[0])}: ${message}`) };
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: maxYamlAliases }) as unknown;
  } catch (error) {
    return { ok: false, problems: [describeError(error)] }; // aliases that multiply
  }
  const parsed = parse(schemaOf(secretAt), value ?? {});
  if (!parsed.ok) return { ok: false, problems: parsed.issues.map((issue) => `${at(offsetOf(document, issue))}: ${issue.path} ${issue.message}`) };
  const wishes = new Map<string, FoundWish>();
  for (const wish of parsed.value.services) {
    // Two of the same are two: each gets a name of its own. The order of the rest says nothing.
    let key = JSON.stringify([wish.target, wish.request.protocol, wish.request.place]);
    while (wishes.has(key)) key += ' again';
    wishes.set(key, wish);
  }
  return { ok: true, wishes };
}

function schemaOf(secretAt: ReadSecret): Schema<{ readonly services: readonly FoundWish[] }> {
  const one: Schema<FoundWish> = convert(service, ({ passwordFile, pinFile, ...fields }, refuse) => {
    const password = passwordFile === undefined ? undefined : secretAt(passwordFile);
    const pin = pinFile === undefined ? undefined : secretAt(pinFile);
    if (passwordFile !== undefined && password === undefined) return refuse('cannot be read', '.passwordFile');
    if (pinFile !== undefined && pin === undefined) return refuse('cannot be read', '.pinFile');
    return wishFrom({ ...fields, password, pin }, refuse);
  });
  return object({ services: list(one, { default: [], max: maxFileServices }) });
}

/** Where the nearest thing of an issue's path stands. */
function offsetOf(document: Document.Parsed, { path }: Issue): number {
  const steps = [...path.matchAll(/\[(\d+)\]|([^.[\]]+)/g)].map(([, index, name]) => (index === undefined ? (name ?? '') : Number(index)));
  for (let length = steps.length; length > 0; length--) {
    const key = steps[length - 1];
    const parent: unknown = length === 1 ? document.contents : document.getIn(steps.slice(0, length - 1), true);
    const pair = isMap(parent) ? parent.items.find(({ key: own }) => (isScalar(own) ? own.value : own) === key) : undefined;
    const node: unknown = pair?.key ?? document.getIn(steps.slice(0, length), true);
    if (typeof node === 'object' && node !== null && 'range' in node && Array.isArray(node.range)) return Number(node.range[0]);
  }
  return 0;
}
