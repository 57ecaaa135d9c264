// The part of oidc-provider 9 that this folder uses; the package carries no types of its own.
declare module 'oidc-provider' {
  import type { IncomingMessage, ServerResponse } from 'node:http';

  export interface AdapterPayload {
    [name: string]: unknown;
    accountId?: string;
    grantId?: string;
    uid?: string;
    userCode?: string;
    loginTs?: number;
    consumed?: number;
    exp?: number;
  }

  export interface Adapter {
    upsert(id: string, payload: AdapterPayload, expiresIn: number): Promise<void>;
    find(id: string): Promise<AdapterPayload | undefined>;
    findByUid(uid: string): Promise<AdapterPayload | undefined>;
    findByUserCode(userCode: string): Promise<AdapterPayload | undefined>;
    consume(id: string): Promise<void>;
    destroy(id: string): Promise<void>;
    revokeByGrantId(grantId: string): Promise<void>;
  }

  export interface Client {
    readonly clientId: string;
    readonly clientName?: string;
    redirectUriAllowed: (this: Client, uri: string) => boolean;
    postLogoutRedirectUriAllowed: (this: Client, uri: string) => boolean;
  }

  export interface Session {
    accountId?: string;
    readonly amr?: readonly string[];
    /** Seconds of the sign-in. */
    readonly loginTs?: number;
    readonly uid: string;
    state?: { readonly secret: string };
    grantIdFor(clientId: string): string | undefined;
    destroy(): Promise<void>;
  }

  export interface Grant {
    readonly jti: string;
    readonly exp: number;
    addOIDCScope(scope: string): void;
    addResourceScope(resource: string, scope: string): void;
    save(): Promise<string>;
  }

  export interface Interaction {
    readonly uid: string;
    readonly exp: number;
    readonly returnTo: string;
    readonly prompt: { readonly name: string; readonly reasons: readonly string[] };
    readonly params: Readonly<Record<string, unknown>>;
    session?: { readonly accountId?: string; readonly uid?: string };
    result?: InteractionResult;
    save(ttlSeconds: number): Promise<string>;
  }

  export interface InteractionResult {
    readonly login?: { readonly accountId: string; readonly ts?: number; readonly amr?: readonly string[] };
    readonly error?: string;
    readonly error_description?: string;
  }

  /** Koa's context with what oidc-provider adds. */
  export interface Context {
    readonly req: IncomingMessage;
    readonly res: ServerResponse;
    readonly method: string;
    readonly path: string;
    readonly query: Readonly<Record<string, string | string[] | undefined>>;
    readonly state: Record<string, unknown>;
    readonly oidc: {
      readonly client?: Client;
      readonly account?: Account;
      readonly session: Session;
      readonly authorizationCode?: { readonly authTime?: number };
      readonly refreshToken?: { readonly authTime?: number };
      readonly deviceCode?: { readonly authTime?: number };
      readonly route: string;
      readonly params?: Readonly<Record<string, unknown>>;
      urlFor(route: string): string;
    };
    status: number;
    type: string;
    body: unknown;
    set(name: string, value: string): void;
  }

  export interface Account {
    readonly accountId: string;
    claims(use: string, scope: string): Promise<Record<string, unknown>>;
  }

  export interface IssuedToken {
    readonly grantId?: string;
    readonly accountId?: string;
  }

  export class Provider {
    constructor(issuer: string, configuration: Readonly<Record<string, unknown>>);
    static readonly ctx: Context | undefined;
    silent: boolean;
    /** Koa's prototype of every request of this application. */
    readonly request: object;
    readonly Client: { readonly prototype: Client };
    readonly Grant: { new (of: { accountId: string; clientId: string }): Grant; find(id: string): Promise<Grant | undefined> };
    readonly Session: {
      findByUid(uid: string): Promise<Session | undefined>;
      /** The session of a browser, a new one where it has none. Sets no cookie. */
      get(ctx: { readonly req: IncomingMessage; readonly res: ServerResponse; readonly secure: boolean }): Promise<Session>;
    };
    readonly Interaction: { find(uid: string): Promise<Interaction | undefined> };
    use(middleware: (ctx: Context, next: () => Promise<void>) => Promise<void>): this;
    on(event: string, listener: (...args: never[]) => void): this;
    callback(): (req: IncomingMessage, res: ServerResponse) => Promise<void>;
    interactionDetails(req: IncomingMessage, res: ServerResponse): Promise<Interaction>;
  }

  export namespace interactionPolicy {
    class Check {
      constructor(reason: string, description: string, check: (ctx: Context) => boolean | Promise<boolean>);
    }
    interface Prompt {
      readonly checks: { add(check: Check): void };
    }
    interface Policy extends Array<Prompt> {
      get(name: string): Prompt | undefined;
      remove(name: string): void;
    }
    function base(): Policy;
  }

  export namespace errors {
    class InvalidTarget extends Error {}
    class InvalidGrant extends Error {
      constructor(detail: string);
    }
  }
}
