// Checks of our own tokens, offline: with the keys in memory and the marks of revocation in the vault.
import { equalBytes, utf8 } from '#lib/bytes.ts';
import { asId, type UserId } from '#model/ids.ts';
import { createLocalJWKSet, errors, jwtVerify, type JWTPayload, type JWTVerifyOptions } from 'jose';
import { createHash } from 'node:crypto';
import type { UserUseCases } from '../domain/contract.ts';
import { activeUser } from './accounts.ts';
import { apiClientIds, cliClientId } from './clients.ts';
import { clockToleranceSeconds } from './constants.ts';
import { idpError } from './errors.ts';
import { publicJwk, type KeySet } from './keys.ts';
import type { IdTokenSubject, LoginToken } from './types.ts';
import type { VaultRecords } from './vault-adapter.ts';

export interface TokenCheckerOptions {
  readonly issuer: string;
  readonly users: Pick<UserUseCases, 'get'>;
  readonly records: VaultRecords;
  readonly keys: KeySet;
  /** Asked once where a token names a key that is not known: another process may have rotated. Undefined where nothing is new. */
  readonly reloadKeys: () => Promise<KeySet | undefined>;
}

/** Longest token that is looked at. */
const tokenLength = 8192;

export class TokenChecker {
  readonly #options: TokenCheckerOptions;
  #keys: ReturnType<typeof createLocalJWKSet>;

  constructor(options: TokenCheckerOptions) {
    this.#options = options;
    this.#keys = keySet(options.keys);
  }

  /** From now on these keys count. */
  useKeys(keys: KeySet): void {
    this.#keys = keySet(keys);
  }

  async accessToken(jwt: string): Promise<UserId | undefined> {
    const payload = await this.#verify(jwt, { audience: [...apiClientIds], typ: 'at+jwt', requiredClaims: ['sub', 'exp', 'iat', 'client_id'] });
    const { sub, grant, client_id: clientId } = payload ?? {};
    if (payload === undefined || sub === undefined || payload.aud !== clientId || (await this.#revoked(payload, grant))) return undefined;
    return (await activeUser(this.#options.users, asId<UserId>(sub)))?.id;
  }

  async loginToken(jwt: string): Promise<LoginToken> {
    let ended = false;
    const payload = await this.#verify(
      jwt,
      { audience: cliClientId, typ: 'at+jwt', requiredClaims: ['sub', 'exp', 'iat', 'client_id'] },
      () => (ended = true),
    );
    if (ended) throw idpError('IDP_LOGIN_TOKEN_ENDED', 'expired');
    if (payload?.sub === undefined || payload.aud !== cliClientId || payload['client_id'] !== cliClientId) throw idpError('IDP_LOGIN_TOKEN_INVALID');
    const user = (await this.#revoked(payload, payload['grant'])) ? undefined : await activeUser(this.#options.users, asId<UserId>(payload.sub));
    if (user === undefined) throw idpError('IDP_LOGIN_TOKEN_ENDED', 'revoked, or the user may not sign in');
    return {
      userId: user.id,
      // Of what is signed: the signature itself can be spelled in several ways (RFC 4648 §3.5), and each would count as a new token.
      digest: createHash('sha256')
        .update(jwt.slice(0, jwt.lastIndexOf('.')))
        .digest('base64'),
      expiresAt: ((payload.exp ?? 0) + clockToleranceSeconds) * 1000,
    };
  }

  async idToken(jwt: string, nonce: string, clientId: string): Promise<IdTokenSubject> {
    const payload = await this.#verify(jwt, { audience: clientId, requiredClaims: ['sub', 'exp', 'iat', 'nonce'] });
    const claimed = payload?.['nonce'];
    // Each of our ID tokens has one audience; with several, `azp` would have to be judged too.
    const mine = payload?.aud === clientId && typeof claimed === 'string' && nonce !== '' && equalBytes(utf8(claimed), utf8(nonce));
    if (payload?.sub === undefined || !mine || (await this.#revoked(payload, undefined))) throw idpError('IDP_TOKEN_INVALID');
    const { sign_in: signIn, methods } = payload;
    return {
      userId: asId<UserId>(payload.sub),
      signIn: typeof signIn === 'string' ? signIn : '',
      methods: Array.isArray(methods) ? methods.filter((method) => typeof method === 'string') : [],
    };
  }

  /** The claims, or undefined where signature, issuer, audience, type or times do not fit. `expired` hears of a genuine one that is too old. */
  async #verify(jwt: string, want: JWTVerifyOptions, expired: () => void = () => undefined): Promise<JWTPayload | undefined> {
    if (jwt.length > tokenLength) return undefined;
    const options: JWTVerifyOptions = {
      ...want,
      issuer: this.#options.issuer,
      algorithms: ['RS256'],
      clockTolerance: clockToleranceSeconds,
      currentDate: new Date(this.#options.records.now()),
    };
    try {
      return (await jwtVerify(jwt, this.#keys, options)).payload;
    } catch (error) {
      if (!(error instanceof errors.JOSEError)) throw error;
      if (error instanceof errors.JWTExpired) expired();
      if (!(error instanceof errors.JWKSNoMatchingKey)) return undefined;
    }
    const fresh = await this.#options.reloadKeys();
    if (fresh === undefined) return undefined;
    this.useKeys(fresh);
    try {
      return (await jwtVerify(jwt, this.#keys, options)).payload;
    } catch (error) {
      if (error instanceof errors.JWTExpired) expired();
      if (error instanceof errors.JOSEError) return undefined;
      throw error;
    }
  }

  async #revoked(payload: JWTPayload, grant: unknown): Promise<boolean> {
    const { records } = this.#options;
    // Tokens tell whole seconds: one of the very second of a revocation counts as older.
    const revokedAt = await records.userRevokedAt(payload.sub ?? '');
    const dated = typeof payload['auth_time'] === 'number' ? payload['auth_time'] : (payload.iat ?? 0);
    if (revokedAt > 0 && dated * 1000 <= revokedAt) return true;
    return typeof grant === 'string' && (await records.grantRevoked(grant));
  }
}

function keySet(keys: KeySet): ReturnType<typeof createLocalJWKSet> {
  return createLocalJWKSet({ keys: keys.keys.map(publicJwk) });
}
