// The page at which people prove who they are at a published host: what is left to do, each as a form of its own.
import type { FormField, PageContent, PageForm } from '../pages/document.ts';
import type { Text } from '../pages/language.ts';
import { loginPath, signInPath } from './place.ts';
import type { PageProof } from './proofs.ts';

export interface SignInPage {
  /** Canonical host of the service. */
  readonly host: string;
  readonly status: number;
  readonly steps: readonly PageProof[];
  /** Whether something has been proven already, and this is what is left. */
  readonly begun: boolean;
  /** Path and query that the visitor asked for. */
  readonly target: string;
  /** See form.ts. */
  readonly seal: string;
  readonly problem: Text | undefined;
}

const title: Text = { en: 'Sign in', de: 'Anmelden' };
const account: Text = { en: 'Sign in with your account', de: 'Mit dem eigenen Konto anmelden' };
const secrets = {
  password: { label: { en: 'Password', de: 'Passwort' }, submit: { en: 'Open with the password', de: 'Mit dem Passwort öffnen' } },
  pin: { label: { en: 'PIN', de: 'PIN' }, submit: { en: 'Open with the PIN', de: 'Mit der PIN öffnen' } },
  link: {
    label: { en: 'Code of a share link', de: 'Code eines Freigabelinks' },
    submit: { en: 'Open with the link', de: 'Mit dem Link öffnen' },
  },
} as const satisfies Readonly<Record<'password' | 'pin' | 'link', { readonly label: Text; readonly submit: Text }>>;

export function signInPage(view: SignInPage): PageContent {
  const { host, status, steps, begun, target, problem } = view;
  const lead: Text = begun
    ? { en: `One more step to open ${host}.`, de: `Noch ein Schritt, um ${host} zu öffnen.` }
    : { en: `Sign in to open ${host}.`, de: `Melden Sie sich an, um ${host} zu öffnen.` };
  return {
    status,
    title,
    texts: problem === undefined ? [lead] : [lead, problem],
    forms: steps.flatMap((step) => (step === 'oidc' ? [] : [secretForm(view, step)])),
    links: steps.includes('oidc') ? [{ href: `${loginPath}?to=${encodeURIComponent(target)}`, text: account }] : [],
    reference: '',
    ...(steps.includes('link') ? { script: takeCode } : {}),
  };
}

/** Moves the code of a share link from behind the `#`, which no server sees, into the form; somebody still has to send it. */
const takeCode = `const f=document.querySelector('input[value=link]')?.form;if(f&&location.hash.length>1){f.elements.secret.value=location.hash.slice(1);history.replaceState(null,'',location.pathname+location.search)}`;

function secretForm({ target, seal, steps }: SignInPage, kind: keyof typeof secrets): PageForm {
  const { label, submit } = secrets[kind];
  const hidden = (name: string, value: string): FormField => ({ name, label, type: 'hidden', value });
  const fields = [hidden('seal', seal), hidden('to', target), hidden('steps', steps.join(' ')), hidden('kind', kind)];
  const secret: FormField =
    kind === 'pin'
      ? { name: 'secret', label, type: 'password', autocomplete: 'off', numeric: true }
      : { name: 'secret', label, type: 'password', autocomplete: kind === 'password' ? 'current-password' : 'off' };
  return { action: signInPath, fields: [...fields, secret], submit };
}
