// Paths that carry a paired device's secret, for apps that can be given nothing but an address.

/** Begins a path that carries a device's secret: `/.meshgate/d/SECRET/…` is `/…`, from that device. */
export const devicePrefix = '/.meshgate/d/';

/** A path, with a device's secret taken out of it: nothing behind this sees it, no log and no rule (attack row L-2). */
export function splitDevicePath(path: string): { readonly path: string; readonly secret: string | undefined } {
  if (!path.startsWith(devicePrefix)) return { path, secret: undefined };
  const end = path.indexOf('/', devicePrefix.length);
  return end < 0 ? { path: '/', secret: path.slice(devicePrefix.length) } : { path: path.slice(end), secret: path.slice(devicePrefix.length, end) };
}

/** A referer without a device's secret. */
export function redactReferer(referer: string): string {
  return !referer.includes(devicePrefix) ? referer : referer.replace(/\/\.meshgate\/d\/[^/?#]*/g, '');
}
