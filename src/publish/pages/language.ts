// The language of our own pages: what the browser asks for, of those that there are (RFC 9110 §12.5.4).
import { joinedValue, type Fields } from '#wire/http1-fields.ts';

export const pageLanguages = ['en', 'de'] as const;
export type PageLanguage = (typeof pageLanguages)[number];

/** A text in every language of the pages. */
export type Text = Readonly<Record<PageLanguage, string>>;

/** English where none of ours is asked for. Ranges beyond the first few are not read. */
export function pageLanguage(fields: Fields): PageLanguage {
  const accepted = joinedValue(fields, 'accept-language');
  if (accepted === undefined) return 'en';
  let best: PageLanguage = 'en';
  let weight = 0;
  for (const range of accepted.slice(0, 256).split(',').slice(0, 16)) {
    const [tag = '', ...parameters] = range.split(';').map((part) => part.trim().toLowerCase());
    const language = pageLanguages.find((known) => tag === known || tag.startsWith(`${known}-`));
    if (language === undefined) continue;
    const stated = parameters.find((parameter) => parameter.startsWith('q='));
    const q = stated === undefined ? 1 : Number(stated.slice(2));
    if (q > weight) [best, weight] = [language, q];
  }
  return best;
}
