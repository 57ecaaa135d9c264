// What every peer of the mesh is told in the same words: where the control plane is, and how the overlay behaves.
import { boolean, convert, duration, type Infer, integer, object, oneOf, optional, string } from '#lib/schema.ts';

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
  mode: oneOf(['userspace', 'system'], {
    about:
      "Whose TCP/IP serves the overlay: this process's own, which needs no rights, or the kernel's behind a network device, which needs Linux, iproute2 and CAP_NET_ADMIN.",
    default: 'userspace',
  }),
  hostPrograms: boolean({
    about: 'System mode: programs of this host that listen for themselves are reached from the overlay too, where a policy admits it.',
    default: false,
  }),
  port: integer({ about: 'UDP port of the overlay; 0 takes any.', max: 65_535, default: 0 }),
  mtu: integer({ about: 'Largest overlay packet, bytes.', min: 1280, max: 1420, default: 1280 }),
  accelerators: oneOf(['auto', 'off'], {
    about: 'Faster ways to send, receive and encrypt packets where this machine has them, or only what works everywhere.',
    default: 'auto',
  }),
  forceRelay: boolean({ about: 'Never look for direct paths.', default: false }),
  presharedKeyFile: optional(
    string({ about: 'File with 32 bytes in base64 that every peer of the network has too, mixed into each handshake. Without it there is none.' }),
  ),
  lazy: oneOf(['server', 'on', 'off'], {
    about: 'Whether peers are connected only while there is traffic: as the control plane says, always, or never.',
    default: 'server',
  }),
  lazyIdle: duration({ about: 'How long without traffic a lazy peer stays connected.', default: '15m', minMs: 60_000, maxMs: 86_400_000 }),
  exitNodes: boolean({
    about:
      'Also dials what only the routes 0.0.0.0/0 and ::/0 of a peer lead to, but for exit nodes that are not to be taken by themselves (`skip_auto_apply`).',
    default: false,
  }),
  rosenpass: convert(
    boolean({ about: 'Post-quantum keys by Rosenpass are not supported; true is refused.', default: false }),
    (on, refuse): false | undefined => (on ? refuse('must be false: Rosenpass is not supported') : false),
    'false',
  ),
});

export type WireguardSettings = Infer<typeof wireguardSettings>;
