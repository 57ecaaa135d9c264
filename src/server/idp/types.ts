// What the server's composition root hands to the identity provider, and what it gets.
import type { Clock } from '#lib/clock.ts';
import type { Logger } from '#lib/log.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { UserId } from '#model/ids.ts';
import type { Issuer, IssuerClientAuth } from '#model/issuer.ts';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ControlDomain } from '../domain/contract.ts';

/** An external OpenID provider whose accounts may sign in here. */
export interface ConnectorConfig {
  /** Part of URLs and of stored users: lower case letters, digits, dashes; at most 32 characters. */
  readonly id: string;
  /** On the button. */
  readonly name: string;
  readonly issuer: string;
  readonly clientId: string;
  readonly clientSecret: string;
  /** How the secret is sent where the issuer takes it both ways; default `basic`, as for a client registered without saying (RFC 7591 §2). */
  readonly clientAuth?: IssuerClientAuth | undefined;
  readonly trustsEmail?: boolean | undefined;
  /** PEM of a private authority that signs the issuer's certificate. */
  readonly ca?: string | undefined;
}

/** External issuers: those of the configuration, and those that are kept in the store, as they are at each moment. */
export interface ConnectorSource {
  list(): Promise<readonly Issuer[]>;
  /** Undefined where there is none, or none any more. */
  find(id: string): Promise<(Issuer & { readonly clientSecret: string }) | undefined>;
}

export interface IdentityProviderOptions {
  /** `https://host:port/oauth2`. Everything we say about ourselves comes from here, never from a Host header. */
  readonly issuer: string;
  readonly domain: Pick<ControlDomain, 'users' | 'vault' | 'factors' | 'settings' | 'sessions' | 'issuers'>;
  /** Whether a gateway may get codes at this redirect URI: https, path exactly /.meshgate/callback, host of an enabled http service. */
  readonly gatewayRedirectAllowed: (uri: string) => Promise<boolean>;
  readonly gatewayClient: { readonly id: string; readonly secret: string };
  /** The issuers whose users may sign in for this redirect URI of a gateway; empty for all of them. */
  readonly issuersAt: (uri: string) => Promise<readonly string[]>;
  readonly connectors: readonly ConnectorConfig[];
  readonly clock: Clock;
  readonly log: Logger;
}

/** A token that a person got from us to sign a peer in. It is good for one sign-in; who uses it keeps its digest until it expires. */
export interface LoginToken {
  readonly userId: UserId;
  /** Base64 of the SHA-256 of what is signed of the token: the same however its signature is spelled. */
  readonly digest: string;
  /** Wall-clock milliseconds. */
  readonly expiresAt: number;
}

/** Who an ID token speaks of, from which sign-in it is, and how the person proved who he is (RFC 8176). */
export interface IdTokenSubject {
  readonly userId: UserId;
  readonly signIn: string;
  readonly methods: readonly string[];
}

/** How a command line signs a person in here (RFC 7636 and RFC 8628). */
export interface CliSignIn {
  readonly clientId: string;
  readonly audience: string;
  readonly scope: string;
  readonly authorizationEndpoint: string;
  readonly tokenEndpoint: string;
  readonly deviceAuthEndpoint: string;
  readonly redirectUrls: readonly string[];
}

export interface IdentityProvider extends Closable {
  readonly cliSignIn: CliSignIn;
  /** Answers every request whose path is /oauth2 or below; others get 404. Never throws. */
  handle(req: IncomingMessage, res: ServerResponse): void;
  /** The user behind an access token of the CLI or the dashboard; undefined where it is not one of ours, expired, revoked, or the user is blocked. */
  verifyAccessToken(jwt: string): Promise<UserId | undefined>;
  /**
   * The user behind an access token that the CLI brings to sign a peer in. Throws IDP_LOGIN_TOKEN_INVALID (400) where it is none of ours,
   * IDP_LOGIN_TOKEN_ENDED (401) where it has expired or was revoked or its user is blocked.
   */
  verifyLoginToken(jwt: string): Promise<LoginToken>;
  /** The user behind an ID token that was issued to the client for the nonce. Throws IDP_TOKEN_INVALID. Does not ask whether the user is blocked. */
  verifyIdToken(idToken: string, nonce: string, clientId: string): Promise<IdTokenSubject>;
  /** Ends every sign-in and token of a user: after a block, a deletion, a new password. */
  endSessionsOf(userId: UserId): Promise<void>;
}
