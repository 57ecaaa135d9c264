// Ids of requests: unique, short, cheap, telling nothing. They join the visitor's page, the access log and the upstream's log.
import { randomBytes } from 'node:crypto';

export interface IdSource {
  next(): string;
}

/** A random part for the process and a count that starts anywhere. Not secret: an id opens nothing. */
export function createIdSource(): IdSource {
  const prefix = randomBytes(8).toString('hex');
  let count = randomBytes(3).readUIntBE(0, 3);
  return { next: () => `${prefix}${(count++).toString(36)}` };
}
