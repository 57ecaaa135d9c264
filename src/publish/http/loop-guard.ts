// Requests that come back to where they have been.

/** Also the mark by which a request that comes back is known (attack row X-5). One in a cluster is like another: two hops end a loop. */
export const via = '1.1 meshgate';

export function visitedBefore(value: string | undefined): boolean {
  return value !== undefined && value.split('meshgate').length > 2;
}
