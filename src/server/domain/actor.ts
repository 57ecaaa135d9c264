// Who does something.
import type { PeerId, TokenId, UserId } from '#model/ids.ts';

/** Who did it, for the audit log. */
export type Actor =
  | { readonly kind: 'user'; readonly id: UserId }
  | { readonly kind: 'peer'; readonly id: PeerId }
  | { readonly kind: 'proxy'; readonly id: TokenId }
  | { readonly kind: 'system' };
