// Where a user looks after the own sign-in: second factor, passkeys, sessions.
import type { SessionView } from '../../domain/contract.ts';
import { html, type Html } from './html.ts';
import { pageWithPasskey } from './layout.ts';
import { passkeyForm } from './passkey-form.ts';

export interface AccountPage {
  readonly action: string;
  readonly email: string;
  /** Undefined where another issuer has the users' factors. */
  readonly factors:
    | {
        readonly totp: boolean;
        readonly recoveryLeft: number;
        readonly passkeys: readonly { readonly id: string; readonly name: string; readonly used: string }[];
        readonly creationOptions: string;
      }
    | undefined;
  readonly sessions: readonly SessionView[];
  readonly problem?: string | undefined;
}

export function accountPage(view: AccountPage): string {
  const { action, email, factors, sessions, problem } = view;
  const content = html`<p class="soft">Signed in as ${email}.</p>
    ${factors === undefined ? undefined : factorParts(action, factors)}
    <h2>Sessions</h2>
    ${sessions.length === 0 ? html`<p class="soft">There is none.</p>` : undefined}
    <ul class="rows">
      ${sessions.map(
        (session) =>
          html`<li>
            ${session.domain} from ${session.address}<br /><span class="soft">${session.userAgent} · last used ${when(session.lastUsed)}</span>
            ${button(action, 'end-session', 'End', session.id)}
          </li> `,
      )}
    </ul>
    ${button(action, 'sign-out', 'Sign out everywhere')}`;
  return pageWithPasskey('Your sign-in', content, problem);
}

function factorParts(action: string, { totp, recoveryLeft, passkeys, creationOptions }: NonNullable<AccountPage['factors']>): Html {
  const name = html`<label for="name">Name of the new passkey</label> <input id="name" name="name" required maxlength="100" value="Passkey" />`;
  return html`<h2>Authenticator app</h2>
    ${
      totp
        ? html`<p class="soft">Set up.</p>
            ${button(action, 'totp-remove', 'Remove')}`
        : button(action, 'totp', 'Set up an authenticator app')
    }
    <h2>Passkeys</h2>
    <ul class="rows">
      ${passkeys.map(
        (passkey) =>
          html`<li>
            <form method="post" action="${action}">
              <input type="hidden" name="step" value="passkey-rename" />
              <input type="hidden" name="id" value="${passkey.id}" />
              <input name="name" aria-label="Name" required maxlength="100" value="${passkey.name}" />
              <span class="soft">${passkey.used}</span>
              <button class="quiet" type="submit">Rename</button>
            </form>
            ${button(action, 'passkey-delete', 'Delete', passkey.id)}
          </li> `,
      )}
    </ul>
    ${passkeyForm({ action, step: 'passkey-add', kind: 'create', options: creationOptions, label: 'Add a passkey' }, name)}
    ${
      recoveryLeft === 0 && !totp && passkeys.length === 0
        ? undefined
        : html`<h2>Recovery codes</h2>
            <p class="soft">${String(recoveryLeft)} left.</p>
            ${button(action, 'recovery', 'Make new ones')}`
    }`;
}

function button(action: string, step: string, label: string, id?: string): Html {
  return html`<form method="post" action="${action}">
    <input type="hidden" name="step" value="${step}" />
    ${id === undefined ? undefined : html`<input type="hidden" name="id" value="${id}" />`}
    <button class="quiet" type="submit">${label}</button>
  </form>`;
}

/** A minute in UTC: the page knows no other zone. */
export function when(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}
