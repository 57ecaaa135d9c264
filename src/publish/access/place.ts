// Where on the gateway a visitor is, as sign-in and identity see it, and the paths that are the gateway's own.
import { authorityPort } from '../http/host.ts';
import type { SignInPlace } from './backend.ts';
import type { Subject } from './subject.ts';

/** Reserved on every published host; an application below it is not reachable (attack row R-7). */
const ownPrefix = '/.meshgate/';
export const callbackPath = '/.meshgate/callback';
/** Takes the forms of the page at which people sign in. */
export const signInPath = '/.meshgate/sign-in';
/** Sends to the identity provider, to come back to `to`. */
export const loginPath = '/.meshgate/login';
/** Where share links lead; their secret is behind a `#` and comes with a form. */
export const linkPath = '/.meshgate/link';
/** Where a user pairs devices and removes them. */
export const devicesPath = '/.meshgate/devices';

export function isOwnPath(path: string): boolean {
  return path.startsWith(ownPrefix);
}

/** Its origin is put together only where somebody is to be sent there. */
export class Place implements SignInPlace {
  readonly serviceId: SignInPlace['serviceId'];
  readonly domain: string;
  readonly #authority: string;

  constructor(subject: Subject) {
    this.serviceId = subject.service?.id ?? ('' as SignInPlace['serviceId']);
    this.domain = subject.host;
    this.#authority = subject.request.authority;
  }

  get origin(): string {
    const port = authorityPort(this.#authority);
    return `https://${this.domain}${port === undefined || port === '443' ? '' : `:${port}`}`;
  }
}

/** The target below our own origin: with the host written out, no spelling of a path can name another (attack row R-1). */
export function localTarget(place: SignInPlace, target: string): string {
  return place.origin + (/^\/[\x21-\x7e]*$/.test(target) ? target : '/');
}
