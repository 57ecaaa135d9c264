// The form of a passkey, as it stands on several pages.
import { html, type Html } from './html.ts';

export interface PasskeyForm {
  readonly action: string;
  /** Which step of the page it answers. */
  readonly step: string;
  readonly kind: 'get' | 'create';
  readonly options: string;
  readonly label: string;
}

/** `more` stands above the button. */
export function passkeyForm({ action, step, kind, options, label }: PasskeyForm, more?: Html): Html {
  return html`<form method="post" action="${action}" data-passkey="${kind}" data-options="${options}" hidden>
    <input type="hidden" name="step" value="${step}" />
    <input type="hidden" name="credential" value="" />
    <p class="problem" role="alert" hidden>That did not work. Try again, or choose another way.</p>
    ${more}
    <button class="quiet" type="submit">${label}</button>
  </form>`;
}
