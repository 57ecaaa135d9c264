// How long certificates still live: those that end first have a figure each.
import type { Clock } from '#lib/clock.ts';
import { maxLabelledCertificates } from './constants.ts';
import { type Family, gauge } from './family.ts';

export interface CertificateFigures {
  /** Host names, the first of which stands for all. */
  readonly names: readonly string[];
  /** Wall-clock milliseconds. */
  readonly notAfter: number;
}

const dayMs = 86_400_000;

export function certificateFamilies(read: () => Iterable<CertificateFigures>, clock: Clock): readonly Family[] {
  return [
    gauge('meshgate_certificate_days_left', 'Days until a certificate ends, negative afterwards; those that end first.', () => {
      // Of several for one name the one that ends last is in use.
      const ends = new Map<string, number>();
      for (const { names, notAfter } of read()) ends.set(names[0] ?? '', Math.max(notAfter, ends.get(names[0] ?? '') ?? -Infinity));
      const first = [...ends].toSorted(([, a], [, b]) => a - b).slice(0, maxLabelledCertificates);
      return first.map(([name, notAfter]) => ({ labels: { name }, value: (notAfter - clock.wall()) / dayMs }));
    }),
  ];
}
