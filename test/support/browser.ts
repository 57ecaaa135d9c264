// A browser without a window: follows redirects, keeps cookies by their rules, fills in the one form of a page. For sign-in without Chromium.
import { readFileSync } from 'node:fs';
import { Agent, request } from 'undici';

export interface Page {
  readonly url: string;
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}

interface Cookie {
  readonly value: string;
  readonly path: string;
}

const maxRedirects = 20;

export class ScriptedBrowser {
  readonly #agent: Agent;
  /** By host (without port, as browsers do), then by name. */
  readonly #cookies = new Map<string, Map<string, Cookie>>();

  /** `caFile` is trusted; every `*.localhost` name is loopback. */
  constructor(caFile: string) {
    this.#agent = new Agent({
      connect: { ca: readFileSync(caFile, 'utf8'), lookup: (_host, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }]) },
    });
  }

  /** Opens a URL as a person would, and returns the page at the end of its redirects. */
  async open(url: string, form?: Readonly<Record<string, string>>): Promise<Page> {
    let at = url;
    let body = form === undefined ? undefined : new URLSearchParams(form).toString();
    for (let hop = 0; hop < maxRedirects; hop++) {
      const { host, hostname, pathname } = new URL(at);
      const cookies = [...(this.#cookies.get(hostname) ?? [])]
        .filter(([, cookie]) => pathname.startsWith(cookie.path))
        .map(([name, cookie]) => `${name}=${cookie.value}`);
      const response = await request(at, {
        dispatcher: this.#agent,
        method: body === undefined ? 'GET' : 'POST',
        headers: {
          host,
          accept: 'text/html,application/xhtml+xml',
          ...(cookies.length > 0 ? { cookie: cookies.join('; ') } : {}),
          ...(body === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded', origin: new URL(at).origin }),
        },
        ...(body === undefined ? {} : { body }),
      });
      const text = await response.body.text();
      this.#keep(hostname, response.headers['set-cookie']);
      const location = response.headers['location'];
      if (response.statusCode >= 300 && response.statusCode < 400 && typeof location === 'string') {
        at = new URL(location, at).href;
        body = undefined;
        continue;
      }
      return { url: at, status: response.statusCode, headers: response.headers, text };
    }
    throw new Error(`more than ${maxRedirects} redirects, last to ${at}`);
  }

  /** Submits the page's form with its hidden fields and the given ones. */
  submit(page: Page, fields: Readonly<Record<string, string>>): Promise<Page> {
    const form = /<form[^>]*>[\s\S]*?<\/form>/.exec(page.text)?.[0];
    if (form === undefined) throw new Error(`no form at ${page.url}: ${page.status} ${page.text.slice(0, 300)}`);
    const action = /action="([^"]*)"/.exec(form)?.[1]?.replaceAll('&amp;', '&') ?? '';
    const hidden = [...form.matchAll(/<input[^>]*>/g)].flatMap(([input]) => {
      const name = /name="([^"]*)"/.exec(input)?.[1];
      return name !== undefined && input.includes('type="hidden"') ? [[name, /value="([^"]*)"/.exec(input)?.[1] ?? ''] as const] : [];
    });
    return this.open(new URL(action, page.url).href, { ...Object.fromEntries(hidden), ...fields });
  }

  /** The cookie header that would go to a URL. */
  cookieHeader(url: string): string {
    return [...(this.#cookies.get(new URL(url).hostname) ?? [])].map(([name, cookie]) => `${name}=${cookie.value}`).join('; ');
  }

  close(): Promise<void> {
    return this.#agent.close();
  }

  #keep(hostname: string, header: string | string[] | undefined): void {
    const jar = this.#cookies.get(hostname) ?? new Map<string, Cookie>();
    this.#cookies.set(hostname, jar);
    for (const line of header === undefined ? [] : Array.isArray(header) ? header : [header]) {
      const [pair = '', ...attributes] = line.split(';').map((part) => part.trim());
      const name = pair.slice(0, pair.indexOf('='));
      const value = pair.slice(pair.indexOf('=') + 1);
      const path = attributes.find((part) => /^path=/i.test(part))?.slice(5) ?? '/';
      const maxAge = attributes.find((part) => /^max-age=/i.test(part))?.slice(8);
      const expires = attributes.find((part) => /^expires=/i.test(part))?.slice(8);
      const gone = maxAge === '0' || (expires !== undefined && Date.parse(expires) < Date.now());
      if (gone) jar.delete(name);
      else jar.set(name, { value, path });
    }
  }
}

/** Opens a published URL, signs in where it is sent, and returns the page behind. */
export async function signIn(browser: ScriptedBrowser, url: string, email: string, password: string): Promise<Page> {
  const page = await browser.open(url);
  return browser.submit(page, { email, password });
}
