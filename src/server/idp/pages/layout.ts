// The frame of every page of the provider.
import { Html, html } from './html.ts';
import { passkeyScript } from './passkey-script.ts';
import { style } from './style.ts';

// The style is our own constant, and its hash is in the page's policy: not one byte of it may change.
const styleElement = new Html(`<style>${style}</style>`);

const scriptElement = new Html(`<script>${passkeyScript}</script>`);

/** A whole page. Works without scripts; the problem, where there is one, is read out first. */
export function page(title: string, content: Html, problem?: string): string {
  return whole(title, content, problem, undefined);
}

/** The same with the script of passkeys, which `sendPasskeyPage` allows. */
export function pageWithPasskey(title: string, content: Html, problem?: string): string {
  return whole(title, content, problem, scriptElement);
}

function whole(title: string, content: Html, problem: string | undefined, script: Html | undefined): string {
  const warning = problem === undefined ? undefined : html`<p class="problem" role="alert">${problem}</p>`;
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="robots" content="noindex" />
        <title>${title} – Meshgate</title>
        ${styleElement}
      </head>
      <body>
        <main>
          <p class="mark">Meshgate</p>
          <h1>${title}</h1>
          ${warning} ${content}
        </main>
        ${script}
      </body>
    </html> `.text;
}
