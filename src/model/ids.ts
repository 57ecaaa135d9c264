// Branded ids: text that only the parse at a border, or the store that makes it, may call by its name.

declare const brand: unique symbol;
export type Brand<T, Name extends string> = T & { readonly [brand]: Name };

export type AccountId = Brand<string, 'AccountId'>;
export type UserId = Brand<string, 'UserId'>;
export type PeerId = Brand<string, 'PeerId'>;
export type GroupId = Brand<string, 'GroupId'>;
export type PolicyId = Brand<string, 'PolicyId'>;
export type ServiceId = Brand<string, 'ServiceId'>;
export type SetupKeyId = Brand<string, 'SetupKeyId'>;
export type TokenId = Brand<string, 'TokenId'>;
export type SessionId = Brand<string, 'SessionId'>;
/** One gateway process, as it names itself on the proxy stream. */
export type ProxyId = Brand<string, 'ProxyId'>;
/** A WireGuard public key as standard base64 of 32 bytes: a peer's identity on every wire. */
export type PublicKey = Brand<string, 'PublicKey'>;

/** The 32-byte key in its canonical text form, or undefined. */
export function parsePublicKey(text: string): PublicKey | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.length === 32 && bytes.toString('base64') === text ? (text as PublicKey) : undefined;
}

/** Marks text from the store, or from a peer that owns the id, as an id. */
export function asId<Id extends Brand<string, string>>(text: string): Id {
  return text as Id;
}
