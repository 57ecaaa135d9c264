// A scripted browser: a cookie jar that follows the rules of RFC 6265 which matter here, redirects one by one, forms as found on the page.
import { Agent, request } from 'undici';

interface Cookie {
  readonly name: string;
  readonly value: string;
  readonly host: string;
  readonly path: string;
}

export interface Page {
  readonly url: URL;
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  readonly setCookies: readonly string[];
  /** Where a redirect leads, resolved. */
  readonly location: URL | undefined;
}

export class Browser {
  readonly #agent: Agent;
  cookies: Cookie[] = [];

  constructor(caPem: string) {
    const loopback = (_host: string, options: { all?: boolean | undefined }, done: (...args: never[]) => void): void => {
      const call = done as unknown as (error: null, found: unknown, family?: number) => void;
      if (options.all === true) call(null, [{ address: '127.0.0.1', family: 4 }]);
      else call(null, '127.0.0.1', 4);
    };
    this.#agent = new Agent({ connect: { ca: caPem, lookup: loopback as never }, pipelining: 1 });
  }

  get(url: string | URL, headers: Readonly<Record<string, string>> = {}): Promise<Page> {
    return this.#send('GET', new URL(url), undefined, headers);
  }

  /** Posts a form as a browser on `page` would: the one of the step that is named, else the first. */
  post(page: Page, fields: Readonly<Record<string, string>>, headers: Readonly<Record<string, string>> = {}): Promise<Page> {
    const forms = [...page.text.matchAll(/<form method="post" action="([^"]*)"([\s\S]*?)<\/form>/g)];
    const form = forms.find(([text]) => fields['step'] !== undefined && text.includes(`name="step" value="${fields['step']}"`)) ?? forms[0];
    const action = unescape(form?.[1] ?? '');
    const hidden = [...(form?.[2] ?? '').matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)"/g)].map(([, name = '', value = '']) => [
      name,
      unescape(value),
    ]);
    const body = new URLSearchParams({ ...Object.fromEntries(hidden), ...fields });
    return this.#send('POST', new URL(action, page.url), body.toString(), { origin: page.url.origin, 'sec-fetch-site': 'same-origin', ...headers });
  }

  postTo(url: string | URL, fields: Readonly<Record<string, string>>, headers: Readonly<Record<string, string>> = {}): Promise<Page> {
    return this.#send('POST', new URL(url), new URLSearchParams(fields).toString(), headers);
  }

  /** Follows redirects on the page's own host; stops at a page or at the first redirect to another host. */
  async follow(start: Page | Promise<Page>): Promise<Page> {
    let page = await start;
    for (let hops = 0; page.location !== undefined && page.location.host === page.url.host && hops < 10; hops++) page = await this.get(page.location);
    return page;
  }

  cookieHeader(url: URL): string {
    return this.cookies
      .filter((cookie) => cookie.host === url.host && pathMatches(url.pathname, cookie.path))
      .map((cookie) => `${cookie.name}=${cookie.value}`)
      .join('; ');
  }

  async close(): Promise<void> {
    await this.#agent.close();
  }

  async #send(method: 'GET' | 'POST', url: URL, body: string | undefined, headers: Readonly<Record<string, string>>): Promise<Page> {
    const cookie = this.cookieHeader(url);
    const response = await request(url, {
      method,
      dispatcher: this.#agent,
      headers: {
        accept: 'text/html',
        ...(cookie === '' ? {} : { cookie }),
        ...(body === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body }),
    });
    const setCookies = [response.headers['set-cookie'] ?? []].flat();
    for (const text of setCookies) this.#keep(url, text);
    const location = response.headers['location'];
    return {
      url,
      status: response.statusCode,
      headers: response.headers,
      text: await response.body.text(),
      setCookies,
      location: typeof location === 'string' ? new URL(location, url) : undefined,
    };
  }

  #keep(url: URL, text: string): void {
    const [pair = '', ...attributes] = text.split(';').map((part) => part.trim());
    const equals = pair.indexOf('=');
    const name = pair.slice(0, equals);
    const value = pair.slice(equals + 1);
    const attribute = (wanted: string): string | undefined =>
      attributes.find((one) => one.toLowerCase().startsWith(`${wanted}=`))?.slice(wanted.length + 1);
    const path = attribute('path') ?? '/';
    const over = attribute('max-age') === '0' || Date.parse(attribute('expires') ?? '9999-01-01') < Date.now();
    this.cookies = this.cookies.filter((one) => !(one.name === name && one.host === url.host && one.path === path));
    if (!over) this.cookies.push({ name, value, host: url.host, path });
  }
}

function pathMatches(path: string, cookiePath: string): boolean {
  return path === cookiePath || (path.startsWith(cookiePath) && (cookiePath.endsWith('/') || path[cookiePath.length] === '/'));
}

function unescape(text: string): string {
  return text.replaceAll('&quot;', '"').replaceAll('&#39;', "'").replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&');
}
