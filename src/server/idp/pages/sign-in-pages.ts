// The pages on which somebody proves who he is: sign-in and the set-up of the first user.
import { html, type Html } from './html.ts';
import { page, pageWithPasskey } from './layout.ts';
import { passkeyForm } from './passkey-form.ts';

export interface SignInPage {
  /** Path that the form is sent to. */
  readonly action: string;
  /** Host that the person will return to. */
  readonly target: string;
  readonly email: string;
  readonly problem?: string | undefined;
  /** Whether users of our own may sign in for this. */
  readonly local: boolean;
  readonly connectors: readonly { readonly name: string; readonly href: string }[];
  /** Where the first user is made, while there is none. */
  readonly setupHref: string | undefined;
  /** Options of a request to a passkey. */
  readonly passkeyOptions: string;
}

export function signInPage(view: SignInPage): string {
  const connectors = view.connectors.map(({ name, href }) => html`<a class="button quiet" href="${href}">Sign in with ${name}</a> `);
  const content = html`<p class="soft">to continue to ${view.target}</p>
    ${view.setupHref === undefined ? undefined : html`<p>There is no user yet. <a href="${view.setupHref}">Set up the first one.</a></p>`}
    ${view.local ? ownWays(view) : undefined} ${connectors.length === 0 || !view.local ? undefined : html`<p class="or">or</p>`} ${connectors}`;
  return pageWithPasskey('Sign in', content, view.problem);
}

/** Password and passkey, for users of our own. */
function ownWays(view: SignInPage): Html {
  return html`<form method="post" action="${view.action}">
      <label for="email">E-mail</label>
      <input
        id="email"
        name="email"
        type="email"
        autocomplete="username"
        required
        maxlength="320"
        value="${view.email}"
        ${view.email === '' ? html` autofocus` : undefined}
      />
      <label for="password">Password</label>
      <input
        id="password"
        name="password"
        type="password"
        autocomplete="current-password"
        required
        maxlength="1024"
        ${view.email === '' ? undefined : html` autofocus`}
      />
      <button type="submit">Sign in</button>
    </form>
    ${passkeyForm({ action: view.action, step: 'passkey', kind: 'get', options: view.passkeyOptions, label: 'Sign in with a passkey' })}`;
}

export interface SetupPage {
  readonly action: string;
  readonly email: string;
  readonly name: string;
  readonly problem?: string | undefined;
}

export function setupPage(view: SetupPage): string {
  const content = html`<p>This user owns everything here. The one-time code is in a file that the server names when it starts.</p>
    <form method="post" action="${view.action}">
      <label for="code">One-time code</label>
      <input id="code" name="code" autocomplete="one-time-code" autocapitalize="off" spellcheck="false" required maxlength="128" autofocus />
      <label for="name">Name</label>
      <input id="name" name="name" autocomplete="name" required maxlength="200" value="${view.name}" />
      <label for="email">E-mail</label>
      <input id="email" name="email" type="email" autocomplete="username" required maxlength="320" value="${view.email}" />
      <label for="password">Password</label>
      <input id="password" name="password" type="password" autocomplete="new-password" required minlength="8" maxlength="1024" />
      <button type="submit">Create the first user</button>
    </form>`;
  return page('Set up the first user', content, view.problem);
}

export function setupDonePage(continueHref: string | undefined): string {
  const onward =
    continueHref === undefined ? html`<p>You can sign in now.</p>` : html`<a class="button" href="${continueHref}">Go on and sign in</a>`;
  return page('The first user is set up', onward);
}

/** A failure that ends here; `text` is safe for anybody. */
export function failurePage(text: string): string {
  return page('That did not work', html`<p class="soft">Nothing was changed.</p>`, text);
}

export function signedOutPage(): string {
  return page('Signed out everywhere', html`<p>Every session has ended, on every device. You can close this page.</p>`);
}
