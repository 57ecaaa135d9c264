// Where on the gateway a visitor is, as sign-in and identity see it.
import { authorityPort } from '../http/host.ts';
import type { SignInPlace } from './backend.ts';
import type { Subject } from './subject.ts';

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
