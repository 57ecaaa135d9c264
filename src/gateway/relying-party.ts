// The gateway as a relying party of the control plane's identity provider: its configuration comes over the wire, once it can be asked.
import { Backoff, sleep } from '#lib/backoff.ts';
import { systemClock } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import { createOidcClient } from '#identity/oidc-client.ts';
import type { RelyingPartyConfig } from '#model/identity.ts';
import { createLoginStates, type RelyingParty } from '#publish/index.ts';
import { callTimeoutMs, registerBackoff } from './constants.ts';

export interface RelyingPartyHolder extends Closable {
  /** Undefined until the control plane has told how. */
  current(): RelyingParty | undefined;
}

/** Asks until it is told; then keeps it for the life of the process. `ca` is trusted for the issuer too. */
export function holdRelyingParty(ask: (signal: AbortSignal) => Promise<RelyingPartyConfig>, ca: string | undefined, log: Logger): RelyingPartyHolder {
  const stopping = new AbortController();
  let party: RelyingParty | undefined;

  async function run(): Promise<void> {
    const backoff = new Backoff({ ...registerBackoff, random: Math.random });
    while (!stopping.signal.aborted && party === undefined) {
      try {
        const { issuer, clientId, clientSecret, stateKey } = await ask(AbortSignal.any([stopping.signal, AbortSignal.timeout(callTimeoutMs)]));
        party = { oidc: createOidcClient({ issuer, clientId, clientSecret, ca, log }), states: createLoginStates(stateKey, systemClock) };
      } catch (error) {
        log.debug('the control plane has not told yet how people sign in', { reason: describeError(error) });
        await sleep(backoff.next(), stopping.signal);
      }
    }
  }

  const running = run();
  return {
    current: () => party,
    async close() {
      stopping.abort();
      await running;
      await party?.oidc.close();
    },
  };
}
