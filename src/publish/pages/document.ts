// Our own pages as HTML: no scripts, nothing loaded from anywhere, everything that is not ours escaped (attack rows C-10, L-5).
import { createHash } from 'node:crypto';
import type { Brand } from './brand.ts';
import { fixOf } from './fixes.ts';
import type { PageLanguage, Text } from './language.ts';
import { stageNames, type Diagnosis } from './stages.ts';

export interface FormField {
  readonly name: string;
  readonly label: Text;
  readonly type: 'text' | 'password' | 'hidden';
  readonly value?: string;
  /** Of the HTML attribute, such as `current-password`. */
  readonly autocomplete?: string;
  readonly numeric?: boolean;
}

export interface PageForm {
  /** A path of ours. */
  readonly action: string;
  readonly fields: readonly FormField[];
  readonly submit: Text;
}

export interface PageContent {
  readonly status: number;
  readonly title: Text;
  /** One paragraph each. */
  readonly texts: readonly Text[];
  readonly forms?: readonly PageForm[];
  /** Elsewhere on this host, or a checked URL. */
  readonly links?: readonly { readonly href: string; readonly text: Text }[];
  /** Something to be copied, such as a credential that is shown once. */
  readonly code?: string;
  /** What joins the page to the log; empty for none. */
  readonly reference: string;
  /** A constant of ours that runs at the end of the page, and without which the page works too. */
  readonly script?: string;
  /** For administrators only. */
  readonly diagnosis?: Diagnosis | undefined;
}

export interface Page {
  readonly body: Buffer;
  /** The value of Content-Security-Policy that goes with it. */
  readonly contentPolicy: string;
}

const failedWord: Text = { en: 'failed', de: 'gescheitert' };
const passedWord: Text = { en: 'passed', de: 'bestanden' };
const notReached: Text = { en: 'not reached', de: 'nicht erreicht' };
const onlyYou: Text = { en: 'Only administrators see this part.', de: 'Diesen Teil sehen nur Administratoren.' };

/** The pages of one gateway, in its brand. */
export class Pages {
  readonly #brand: Brand;
  readonly #style: string;
  readonly #contentPolicy: string;

  constructor(brand: Brand) {
    this.#brand = brand;
    this.#style = styleOf(brand);
    const style = sha256(this.#style);
    this.#contentPolicy = `default-src 'none'; style-src 'sha256-${style}'${brand.logo === '' ? '' : '; img-src data:'}; frame-ancestors 'none'; base-uri 'none'`;
  }

  render(content: PageContent, language: PageLanguage): Page {
    const { status, title, texts, forms = [], links = [], code, script, reference, diagnosis } = content;
    // A page that asks for something has no reference.
    const failed = status >= 400 && reference !== '';
    const { name, logo, contact } = this.#brand;
    const heading = escapeHtml(title[language]);
    const parts = [
      name === '' && logo === '' ? '' : `<header>${logo === '' ? '' : `<img src="${escapeHtml(logo)}" alt="">`}${escapeHtml(name)}</header>`,
      `<main><h1>${heading}</h1>`,
      ...texts.map((text) => `<p>${escapeHtml(text[language])}</p>`),
      code === undefined ? '' : `<pre>${escapeHtml(code)}</pre>`,
      ...forms.map((form) => formHtml(form, language)),
      ...links.map(({ href, text }) => `<p><a href="${escapeHtml(href)}" rel="noreferrer">${escapeHtml(text[language])}</a></p>`),
      // What to tell an administrator, where something went wrong.
      failed && contact !== '' ? `<p>${escapeHtml(contact)}</p>` : '',
      failed && reference !== '' ? `<p><small>${status} &middot; ${escapeHtml(reference)}</small></p>` : '',
      diagnosis === undefined ? '' : diagnosisHtml(diagnosis, language),
      '</main>',
      script === undefined ? '' : `<script>${script}</script>`,
    ];
    const html = `<!doctype html>
<html lang="${language}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">
<title>${failed ? `${status} ` : ''}${heading}</title>
<style>${this.#style}</style></head>
<body>${parts.join('')}</body>
</html>
`;
    const formAction = forms.length > 0 ? "'self'" : "'none'";
    return {
      body: Buffer.from(html),
      contentPolicy: `${this.#contentPolicy}; form-action ${formAction}${script === undefined ? '' : `; script-src 'sha256-${sha256(script)}'`}`,
    };
  }
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('base64');
}

function formHtml({ action, fields, submit }: PageForm, language: PageLanguage): string {
  const inputs = fields.map(({ name, label, type, value = '', autocomplete, numeric = false }) => {
    const input = `<input type="${type}" name="${escapeHtml(name)}" value="${escapeHtml(value)}"`;
    if (type === 'hidden') return `${input}>`;
    const hints = `${autocomplete === undefined ? '' : ` autocomplete="${escapeHtml(autocomplete)}"`}${numeric ? ' inputmode="numeric"' : ''}`;
    return `<label>${escapeHtml(label[language])}${input}${hints} required></label>`;
  });
  return `<form method="post" action="${escapeHtml(action)}">${inputs.join('')}<button>${escapeHtml(submit[language])}</button></form>`;
}

function diagnosisHtml({ stages, failed, upstream }: Diagnosis, language: PageLanguage): string {
  const words = { passed: passedWord, failed: failedWord, not_reached: notReached };
  const rows = stages.map(({ stage, outcome, ms }) => {
    const time = ms === undefined ? '' : `${ms.toFixed(1)} ms`;
    return `<tr class="${outcome}"><td>${escapeHtml(stageNames[stage][language])}<td>${escapeHtml(words[outcome][language])}<td>${time}`;
  });
  const fix = failed === undefined ? undefined : fixOf(failed.reason);
  const why = failed === undefined ? '' : `<p><code>${escapeHtml(failed.reason)}</code> ${escapeHtml(failed.detail)}</p>`;
  return [
    `<section><p><small>${escapeHtml(onlyYou[language])}</small></p><table>${rows.join('')}</table>`,
    why,
    upstream === undefined ? '' : `<p><code>${escapeHtml(upstream)}</code></p>`,
    fix === undefined ? '' : `<p>${escapeHtml(fix[language])}</p>`,
    '</section>',
  ].join('');
}

function styleOf({ color }: Brand): string {
  const accent = /^#[0-9a-f]{6}$/i.test(color) ? color : '#2457c5';
  return `body{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:12vh auto;padding:0 1rem;color:#222;background:#fff}small{color:#666}
header{display:flex;gap:.75rem;align-items:center;font-weight:600}header img{max-height:3rem;max-width:12rem}a{color:${accent}}
label{display:block;margin:1rem 0}input{display:block;width:100%;box-sizing:border-box;font:inherit;padding:.5rem}button{font:inherit;padding:.5rem 1.5rem;border:0;border-radius:4px;color:#fff;background:${accent}}
pre{overflow:auto;padding:.75rem;background:#8882;white-space:pre-wrap;word-break:break-all}section{margin-top:2rem;border-top:1px solid #8888;font-size:.9rem}td{padding:.1rem 1rem .1rem 0}.failed{font-weight:600}.not_reached{opacity:.6}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#111}small{color:#999}a{color:#8ab4ff}}`;
}

function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}
