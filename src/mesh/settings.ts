// What every peer of the mesh is told in the same words: where the control plane is, and how the overlay behaves.
import { boolean, integer, object, optional, string } from '#lib/schema.ts';

/** The settings `control.*`; `secret` is what would travel in the clear without TLS. */
export function controlSettings(secret: string) {
  return object({
    url: string({
      about: 'The control plane.',
      pattern: /^https?:\/\/[^/]+$/,
      hint: 'must be https://host[:port]',
      example: 'https://mesh.example.com',
    }),
    caFile: optional(string({ about: 'PEM file with a private CA of the control plane.' })),
    allowInsecure: boolean({ about: `Permits an http:// control plane: the ${secret} travels in the clear then.`, default: false }),
  });
}

/** The settings `wireguard.*`. */
export const wireguardSettings = object({
  port: integer({ about: 'UDP port of the overlay; 0 takes any.', max: 65_535, default: 0 }),
  mtu: integer({ about: 'Largest overlay packet, bytes.', min: 1280, max: 1420, default: 1280 }),
  forceRelay: boolean({ about: 'Never look for direct paths.', default: false }),
});
