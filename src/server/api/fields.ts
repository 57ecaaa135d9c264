// Pieces of request and response shapes that several groups of endpoints share.
import { convert, list, object, oneOf, optional, type Schema, string } from '#lib/schema.ts';
import type { GroupId } from '#model/ids.ts';
import { asId, type Brand } from '#model/ids.ts';
import { resourceTypes, type ResourceRef } from '#model/network-plan.ts';

/** An id in a body. */
export function idField<Id extends Brand<string, string>>(): Schema<Id> {
  return convert(string({ max: 200 }), (text) => asId<Id>(text));
}

/** A list of group ids; absent is empty. */
export function groupIds(): Schema<readonly GroupId[]> {
  return list(idField<GroupId>(), { default: [], max: 500 });
}

/** An id, or the empty text and absence for none. */
export function emptyOrId<Id extends Brand<string, string>>(): Schema<Id | undefined> {
  return optional(convert(string({ min: 0, max: 200 }), (text) => (text === '' ? undefined : asId<Id>(text))));
}

export function descriptionField(): Schema<string> {
  return string({ min: 0, max: 1000, default: '' });
}

/** One peer or resource in place of groups. */
export function resourceRef(): Schema<ResourceRef> {
  return object({ id: string({ max: 200 }), type: oneOf(['peer', ...resourceTypes]) });
}

/**
 * A field that other servers of this API know and this one does not: what means "not used" passes (false, 0, empty), everything else is
 * refused by name, so that nobody relies on something that does not happen.
 */
export function unsupported(): Schema<undefined> {
  return {
    shape: { kind: 'string' },
    info: {},
    optional: true,
    read(input, path, report) {
      if (!isNeutral(input)) report(path, 'is not supported by this server');
      return undefined;
    },
  };
}

/** A field of answers that a request may send back as it got it: nobody changes it, and whatever it says is not read. */
export function answerOnly(): Schema<undefined> {
  return { shape: { kind: 'string' }, info: {}, optional: true, read: () => undefined };
}

/** A field that has one value here: absent or that value passes, everything else is refused by name. */
export function fixedTo(value: boolean | string | number): Schema<undefined> {
  return {
    shape: { kind: 'string' },
    info: {},
    optional: true,
    read(input, path, report) {
      if (input !== undefined && input !== null && input !== value) report(path, `is always ${String(value)} at this server`);
      return undefined;
    },
  };
}

function isNeutral(input: unknown): boolean {
  if (input === undefined || input === null || input === false || input === '' || input === 0) return true;
  return typeof input === 'object' && Object.keys(input).length === 0;
}

/** RFC 3339 with the zone Z. */
export function time(ms: number): string {
  return new Date(ms).toISOString();
}

/** Go's zero time stands for "never" where the shape has no room for absence. */
export function timeOrZero(ms: number | undefined): string {
  return ms === undefined ? '0001-01-01T00:00:00Z' : time(ms);
}

/** Without the keys whose value is undefined: JSON would leave them out, comparisons would not. */
export function present(fields: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
