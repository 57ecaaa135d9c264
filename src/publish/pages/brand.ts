// What an operator's own pages look like: a name, a picture, a colour, and whom to ask. Nothing of it is loaded from elsewhere.
export interface Brand {
  /** Above every page; empty for none. */
  readonly name: string;
  /** A `data:` URL of a PNG, JPEG, WebP or GIF; empty for none. */
  readonly logo: string;
  /** `#rrggbb`, of buttons and links; empty for the plain one. */
  readonly color: string;
  /** Below every page that tells of a failure: whom to ask. Plain text; empty for none. */
  readonly contact: string;
}

export const plainBrand: Brand = { name: '', logo: '', color: '', contact: '' };

const kinds: readonly (readonly [string, readonly number[]])[] = [
  ['image/png', [0x89, 0x50, 0x4e, 0x47]],
  ['image/jpeg', [0xff, 0xd8, 0xff]],
  ['image/webp', [0x52, 0x49, 0x46, 0x46]],
  ['image/gif', [0x47, 0x49, 0x46, 0x38]],
];

/** The picture as a `data:` URL, or undefined where it is none that pages may show: SVG can hold scripts and is not among them. */
export function logoUrl(bytes: Uint8Array): string | undefined {
  const kind = kinds.find(([, magic]) => magic.every((byte, i) => bytes[i] === byte));
  return kind === undefined ? undefined : `data:${kind[0]};base64,${Buffer.from(bytes).toString('base64')}`;
}
