// Asks a metrics endpoint and reads its answer as strictly as a scraper does: every line well-formed, nothing twice.
import { request } from 'node:http';

export interface HttpAnswer {
  readonly status: number;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly text: string;
}

export function ask(port: number, path: string, options: { readonly method?: string; readonly host?: string } = {}): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const headers = { host: options.host ?? `127.0.0.1:${port}` };
    const call = { host: '127.0.0.1', port, path, method: options.method ?? 'GET', headers, agent: false, signal: AbortSignal.timeout(5_000) };
    request(call, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
      response.on('error', reject);
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, text }));
    })
      .on('error', reject)
      .end();
  });
}

/** The samples by `name{label="value",…}` as written. Throws where a scraper would refuse the text. */
export function samplesOf(text: string): ReadonlyMap<string, number> {
  const samples = new Map<string, number>();
  const types = new Set<string>();
  for (const line of text.trimEnd().split('\n')) {
    const typed = /^# TYPE ([a-z_][a-z0-9_]*) (?:counter|gauge|histogram|summary)$/.exec(line);
    if (typed !== null) {
      if (types.has(typed[1] ?? '')) throw new Error(`twice: ${line}`);
      types.add(typed[1] ?? '');
    } else if (line !== '' && !line.startsWith('# HELP ')) {
      const sample = /^([a-z_][a-z0-9_]*(?:\{(?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)+\})?) (-?[0-9.e+-]+|[Nn]a[Nn]|[+-]Inf)$/.exec(line);
      if (sample === null) throw new Error(`not a sample: ${line}`);
      const [, name = '', value = ''] = sample;
      if (samples.has(name)) throw new Error(`twice: ${name}`);
      samples.set(name, Number(value));
    }
  }
  return samples;
}
