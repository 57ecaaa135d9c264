// The pages between a password and the end of a sign-in: the second factor, and its set-up where one is required.
import { html } from './html.ts';
import { page, pageWithPasskey } from './layout.ts';
import { passkeyForm } from './passkey-form.ts';

export interface SecondFactorPage {
  readonly action: string;
  readonly email: string;
  /** Whether codes of an app are set up. */
  readonly totp: boolean;
  /** Options of a request to a passkey, where the user has one. */
  readonly passkeyOptions: string | undefined;
  readonly problem?: string | undefined;
}

export function secondFactorPage({ action, email, totp, passkeyOptions, problem }: SecondFactorPage): string {
  const content = html`<p class="soft">You sign in as ${email}.</p>
    <form method="post" action="${action}">
      <input type="hidden" name="step" value="code" />
      <label for="code">${totp ? 'Code of your app, or a recovery code' : 'Recovery code'}</label>
      <input id="code" name="code" autocomplete="one-time-code" autocapitalize="off" spellcheck="false" required maxlength="64" autofocus />
      <button type="submit">Continue</button>
    </form>
    ${
      passkeyOptions === undefined
        ? undefined
        : passkeyForm({ action, step: 'passkey', kind: 'get', options: passkeyOptions, label: 'Use a passkey or security key' })
    }
    ${restart(action)}`;
  return pageWithPasskey('Second step', content, problem);
}

export interface EnrolPage {
  readonly action: string;
  /** `confirm`, as the page that asks calls it. */
  readonly step: string;
  readonly secret: string;
  readonly uri: string;
  readonly problem?: string | undefined;
  /** Whether it can be left without: then there is a link back. */
  readonly back?: string | undefined;
}

export function totpPage({ action, step, secret, uri, problem, back }: EnrolPage): string {
  const spaced = secret.replaceAll(/(.{4})(?!$)/g, '$1 ');
  const content = html`<p>Add a key to your authenticator app: <a href="${uri}">open it on this device</a>, or type this secret there.</p>
    <code class="small">${spaced}</code>
    <form method="post" action="${action}">
      <input type="hidden" name="step" value="${step}" />
      <label for="code">Code that the app shows</label>
      <input id="code" name="code" inputmode="numeric" autocomplete="one-time-code" required maxlength="6" autofocus />
      <button type="submit">Continue</button>
    </form>
    ${back === undefined ? restart(action) : html`<p class="or"><a href="${back}">Back</a></p>`}`;
  return page('Set up an authenticator app', content, problem);
}

/** Recovery codes, which are shown once; `next` goes on. */
export function recoveryPage(codes: readonly string[], next: { readonly action: string; readonly step: string }): string {
  const content = html`<p>
      Each of these codes signs you in once where your app or passkey is lost. They are not shown again: print them, or keep them in a safe place.
    </p>
    <ul class="codes">
      ${codes.map((code) => html`<li>${code}</li> `)}
    </ul>
    <form method="post" action="${next.action}">
      <input type="hidden" name="step" value="${next.step}" />
      <button type="submit">I have kept them</button>
    </form>`;
  return page('Recovery codes', content);
}

function restart(action: string): ReturnType<typeof html> {
  return html`<form method="post" action="${action}">
    <input type="hidden" name="step" value="restart" />
    <button class="quiet" type="submit">Sign in as somebody else</button>
  </form>`;
}
