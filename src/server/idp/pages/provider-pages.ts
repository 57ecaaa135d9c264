// Pages that the OpenID library asks for: errors, device codes, logout.
import type { Context } from 'oidc-provider';
import { html } from './html.ts';
import { page } from './layout.ts';

function show(ctx: Context, text: string): void {
  ctx.type = 'html';
  ctx.body = text;
}

/** A refused authorization request that cannot be sent back to its client. */
export function errorPage(ctx: Context, error: string, description: string): void {
  const content = html`<p class="soft">Go back to the page that you wanted to open and try again.</p>
    <p class="soft">${error}${description === '' ? '' : `: ${description}`}</p>`;
  show(ctx, page('That did not work', content, 'The request to sign in cannot be answered.'));
}

/** Where a person types the code that a device shows. */
export function deviceCodePage(ctx: Context, error: unknown): void {
  const name = error instanceof Error ? error.name : undefined;
  const problems: Readonly<Record<string, string>> = {
    NotFoundError: 'This code is not known. Check it and try again.',
    NoCodeError: 'Enter the code.',
    ExpiredError: 'This code has expired. Start again on the device.',
    AlreadyUsedError: 'This code has been used. Start again on the device.',
    AbortedError: 'The sign-in was cancelled.',
  };
  const problem = name === undefined ? undefined : (problems[name] ?? 'That did not work. Try again.');
  const content = html`<form method="post" action="${ctx.oidc.urlFor('code_verification')}">
    <input type="hidden" name="xsrf" value="${ctx.oidc.session.state?.secret}" />
    <label for="user_code">Code that your device shows</label>
    <input id="user_code" name="user_code" autocomplete="off" autocapitalize="characters" spellcheck="false" required maxlength="20" autofocus />
    <button type="submit">Continue</button>
  </form>`;
  show(ctx, page('Connect a device', content, problem));
}

/** Asks whether the code is the one on the device: somebody else may have sent the link. */
export function deviceConfirmPage(ctx: Context, clientName: string, code: string): void {
  const content = html`<p>${clientName} on another device wants to sign in as you. Continue only if it shows this code:</p>
    <code>${code}</code>
    <form method="post" action="${ctx.oidc.urlFor('code_verification')}">
      <input type="hidden" name="xsrf" value="${ctx.oidc.session.state?.secret}" />
      <input type="hidden" name="user_code" value="${code}" />
      <input type="hidden" name="confirm" value="yes" />
      <button type="submit">Continue</button>
      <button class="quiet" type="submit" name="abort" value="yes">Cancel</button>
    </form>`;
  show(ctx, page('Connect a device', content));
}

export function deviceDonePage(ctx: Context): void {
  show(ctx, page('The device is connected', html`<p>You can close this page and go back to your device.</p>`));
}

/** Asks before a logout: any page could have sent the browser here. */
export function logoutPage(ctx: Context, targets: ReadonlySet<string>): void {
  const onward = [...targets][0];
  const content = html`<p>You will have to sign in again for every service that you opened from this browser, or from any.</p>
    <form method="post" action="${ctx.oidc.urlFor('end_session_confirm')}">
      <input type="hidden" name="xsrf" value="${ctx.oidc.session.state?.secret}" />
      <button type="submit" name="logout" value="yes">Sign out in this browser</button>
      <button class="quiet" type="submit" name="logout" value="everywhere">Sign out everywhere, on every device</button>
      <button class="quiet" type="submit">Stay signed in</button>
    </form>
    ${onward === undefined ? undefined : html`<p class="soft">Then you return to ${new URL(onward).host}.</p>`}`;
  show(ctx, page('Sign out?', content));
}

/** After a logout, or after the wish to stay: then the client is known and the sign-in lives on. */
export function loggedOutPage(ctx: Context): void {
  if (ctx.oidc.client !== undefined) return show(ctx, page('Still signed in', html`<p>You can close this page.</p>`));
  show(ctx, page('Signed out', html`<p>You can close this page.</p>`));
}
