// An authenticator in software that can lie about everything it says.
import { createHash, generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto';
import type { parseAnswer, RelyingParty } from '#server/idp/webauthn.ts';

type Answer = NonNullable<ReturnType<typeof parseAnswer>>;

export const party: RelyingParty = { id: 'mesh.localhost', origin: 'https://mesh.localhost' };

export interface Lies {
  readonly origin?: string;
  readonly rpId?: string;
  readonly challenge?: string;
  readonly crossOrigin?: boolean;
  readonly userPresent?: boolean;
  readonly userVerified?: boolean;
  /** Set besides those that are true. */
  readonly flags?: number;
  readonly counter?: number;
  readonly userHandle?: string;
  readonly tail?: Buffer;
}

export interface Authenticator {
  readonly id: string;
  create(challenge: string, lies?: Lies): Answer;
  get(challenge: string, lies?: Lies): Answer;
  /** As the page's script puts it into the form. */
  text(answer: Answer): string;
}

/** It is for `party`, or for the one that is given, and for the user `userHandle`. */
export function authenticator(algorithm: 'ES256' | 'EdDSA' | 'RS256', userHandle = 'u1', at: RelyingParty = party): Authenticator {
  const { privateKey, publicKey } = keyPair(algorithm);
  const id = randomBytes(16);
  let counter = 0;

  function clientData(type: string, challenge: string, lies: Lies): Buffer {
    const data = { type, challenge: lies.challenge ?? challenge, origin: lies.origin ?? at.origin, crossOrigin: lies.crossOrigin ?? false };
    return Buffer.from(JSON.stringify(data));
  }

  function authData(lies: Lies, more: Buffer, flag: number): Buffer {
    const flags = (lies.userPresent === false ? 0 : 1) | (lies.userVerified === false ? 0 : 4) | (lies.flags ?? 0) | flag;
    const head = Buffer.alloc(5);
    head[0] = flags;
    head.writeUInt32BE(lies.counter ?? counter++, 1);
    return Buffer.concat([
      createHash('sha256')
        .update(lies.rpId ?? at.id)
        .digest(),
      head,
      more,
      lies.tail ?? Buffer.alloc(0),
    ]);
  }

  return {
    id: id.toString('base64url'),
    create(challenge, lies = {}) {
      const length = Buffer.alloc(2);
      length.writeUInt16BE(id.length);
      const data = authData(lies, Buffer.concat([Buffer.alloc(16), length, id, coseOf(algorithm, publicKey)]), 0x40);
      const object = Buffer.concat([
        Buffer.from('a363666d74646e6f6e656761747453746d74a0686175746844617461', 'hex'), // fmt: none, attStmt: {}, authData
        head(2, data.length),
        data,
      ]);
      const bytes = clientData('webauthn.create', challenge, lies);
      const response = { clientDataJSON: text(bytes), attestationObject: text(object), transports: ['internal'] };
      return { id: id.toString('base64url'), clientData: new Uint8Array(bytes), response };
    },
    get(challenge, lies = {}) {
      const data = authData(lies, Buffer.alloc(0), 0);
      const bytes = clientData('webauthn.get', challenge, lies);
      const signed = Buffer.concat([data, createHash('sha256').update(bytes).digest()]);
      const signature = sign(algorithm === 'EdDSA' ? null : 'sha256', signed, privateKey);
      const response = {
        clientDataJSON: text(bytes),
        authenticatorData: text(data),
        signature: text(signature),
        userHandle: text(Buffer.from(lies.userHandle ?? userHandle)),
      };
      return { id: id.toString('base64url'), clientData: new Uint8Array(bytes), response };
    },
    text: ({ id: name, response }) => JSON.stringify({ id: name, rawId: name, type: 'public-key', clientExtensionResults: {}, response }),
  };
}

function keyPair(algorithm: 'ES256' | 'EdDSA' | 'RS256'): { readonly privateKey: KeyObject; readonly publicKey: KeyObject } {
  if (algorithm === 'ES256') return generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return algorithm === 'EdDSA' ? generateKeyPairSync('ed25519') : generateKeyPairSync('rsa', { modulusLength: 2048 });
}

/** The head of a CBOR value of less than 65,536. */
function head(major: number, value: number): Buffer {
  const first = major << 5;
  if (value < 24) return Buffer.from([first | value]);
  if (value < 256) return Buffer.from([first | 24, value]);
  return Buffer.from([first | 25, value >> 8, value & 255]);
}

function coseOf(algorithm: 'ES256' | 'EdDSA' | 'RS256', key: KeyObject): Buffer {
  const jwk = key.export({ format: 'jwk' });
  const int = (value: number): Buffer => (value < 0 ? head(1, -1 - value) : head(0, value));
  const bytes = (value: string | undefined): Buffer => {
    const raw = Buffer.from(value ?? '', 'base64url');
    return Buffer.concat([head(2, raw.length), raw]);
  };
  const map = (entries: readonly (readonly [number, Buffer])[]): Buffer =>
    Buffer.concat([head(5, entries.length), ...entries.flatMap(([label, value]) => [int(label), value])]);
  switch (algorithm) {
    case 'ES256':
      return map([
        [1, int(2)],
        [3, int(-7)],
        [-1, int(1)],
        [-2, bytes(jwk.x)],
        [-3, bytes(jwk.y)],
      ]);
    case 'EdDSA':
      return map([
        [1, int(1)],
        [3, int(-8)],
        [-1, int(6)],
        [-2, bytes(jwk.x)],
      ]);
    case 'RS256':
      return map([
        [1, int(3)],
        [3, int(-257)],
        [-1, bytes(jwk.n)],
        [-2, bytes(jwk.e)],
      ]);
  }
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url');
}
