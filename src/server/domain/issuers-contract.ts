// External issuers, as the API and the identity provider ask for them.
import type { Issuer } from '#model/issuer.ts';
import type { Actor } from './actor.ts';

export type IssuerInput = Omit<Issuer, 'id' | 'configured'> & {
  /** Undefined on an update keeps the old one. */
  readonly clientSecret: string | undefined;
};

export interface IssuerUseCases {
  /** Those of the configuration first. */
  list(): Promise<readonly Issuer[]>;
  get(id: string): Promise<Issuer>;
  create(request: IssuerInput, actor: Actor): Promise<Issuer>;
  /** DOMAIN_ISSUER_CONFIGURED; DOMAIN_ISSUER_FIXED where its URL would change though users came from it: the same subject there is somebody else. */
  update(id: string, request: IssuerInput, actor: Actor): Promise<Issuer>;
  /** DOMAIN_ISSUER_CONFIGURED, DOMAIN_ISSUER_IN_USE. Its users stay, signed out, and cannot sign in any more. */
  delete(id: string, actor: Actor): Promise<void>;
  /** The secret of one that is kept here; undefined for those of the configuration, and where there is none. */
  secret(id: string): Promise<string | undefined>;
}
