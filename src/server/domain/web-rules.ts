// What the parts of a web service beyond NetBird's shapes must look like.
import type { ServiceMode } from '#model/service.ts';
import { defaultWeb, type HeaderEdits, type HealthCheck, type OwnAnswer, type WebOptions } from '#model/web.ts';
import { headerEditsProblem, ownAnswerProblem } from '#model/web-rules.ts';
import { invalid, invalidBy } from './errors.ts';
import { checkMatch } from './match-rules.ts';
import { checkClientCertificate } from './stream-rules.ts';
import { checkHeader, checkRoutePath } from './target-rules.ts';

/** In its canonical form. */
export function checkWeb(mode: ServiceMode, web: WebOptions): WebOptions {
  if (mode !== 'http') return checkNoWeb(mode, web);
  checkEdits(web.requestHeaders, 'request');
  checkEdits(web.responseHeaders, 'response');
  if (web.healthCheck !== undefined) checkHealth(web.healthCheck);
  if (web.clientCertificate !== undefined) checkClientCertificate(web.clientCertificate);
  const answers = web.answers.map(checkAnswer);
  const places = answers.map(({ path, match }) => `${path} ${JSON.stringify(match)}`);
  if (new Set(places).size !== places.length) throw invalid('Two answers are for the same requests.');
  return { ...web, answers };
}

function checkNoWeb(mode: ServiceMode, web: WebOptions): WebOptions {
  if (JSON.stringify(web) !== JSON.stringify(defaultWeb)) throw invalid(`Web options are not for ${mode} services.`);
  return defaultWeb;
}

function checkEdits(edits: HeaderEdits, side: 'request' | 'response'): void {
  const problem = headerEditsProblem(edits, side);
  if (problem !== undefined) throw invalidBy(problem);
  const { remove, set, add } = edits;
  for (const name of remove) checkHeader(name, '', side);
  for (const [name, value] of [...Object.entries(set), ...Object.entries(add)]) checkHeader(name, value, side);
}

function checkAnswer({ path, match, answer }: OwnAnswer): OwnAnswer {
  const route = { path: checkRoutePath(path), match: checkMatch(match) };
  const problem = ownAnswerProblem({ ...route, answer });
  if (problem !== undefined) throw invalidBy(problem);
  if (answer.kind === 'redirect' && /^https?:/.test(answer.location) && !URL.canParse(answer.location)) {
    throw invalid('A redirect leads to an http or https URL, or to a path that begins with one /.');
  }
  return { ...route, answer };
}

function checkHealth({ path, timeoutMs, intervalMs, statuses }: HealthCheck): void {
  if (!/^\/[\x21\x22\x24-\x7e]*$/.test(path)) throw invalid('The path of the health check begins with / and has no spaces and no #.');
  if (timeoutMs > intervalMs) throw invalid('A health check’s time limit is at most its interval.');
  if (statuses[0] > statuses[1]) throw invalid('The statuses of the health check are from the lower to the higher.');
}
