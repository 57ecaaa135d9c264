// The settings of automatic certificates wherever TLS ends.
import { boolean, type Infer, list, object, oneOf, optional, string } from '#lib/schema.ts';

export const ownAcmeFields = {
  authorities: list(
    object({
      directory: string({
        about: 'ACME directory.',
        pattern: /^https:\/\/[^\s@]+$/,
        hint: 'must be an https URL',
        example: 'https://acme-v02.api.letsencrypt.org/directory',
      }),
      caFile: optional(string({ about: 'PEM file with the root of a private directory’s own TLS.' })),
      eab: optional(
        object({
          keyId: string({ about: 'Key id of the external account binding.' }),
          hmacKeyFile: string({ about: 'File with its HMAC key, base64url.' }),
        }),
      ),
    }),
    {
      about:
        'Certificate authorities, in the order in which they are asked: `{directory, caFile?, eab?: {keyId, hmacKeyFile}}`. One that limits, refuses or is away is passed over. Empty turns automatic certificates off.',
      default: [],
      max: 10,
    },
  ),
  email: optional(
    string({
      about: 'Address for the authority’s notices.',
      pattern: /^[^\s@]+@[^\s@]+$/,
      hint: 'must be an e-mail address',
      example: 'admin@example.com',
    }),
  ),
  termsAgreed: boolean({ about: 'You have read and accept the terms of service of every authority in the list.', default: false }),
  keyType: oneOf(['ec256', 'ec384', 'rsa2048'], { about: 'Keys of certificates.', default: 'ec256' }),
};

export const ownAcmeSettings = object(ownAcmeFields);

export type OwnAcmeSettings = Infer<typeof ownAcmeSettings>;
