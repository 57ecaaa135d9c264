// The URL of a web service's target.
import type { MappingTarget } from '#model/service.ts';

/** Undefined where it is no http or https URL with a host. */
export function urlTarget(text: string): MappingTarget | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const protocol = url?.protocol === 'https:' ? 'https' : url?.protocol === 'http:' ? 'http' : undefined;
  if (url === undefined || protocol === undefined || url.hostname === '') return undefined;
  const port = url.port === '' ? (protocol === 'https' ? 443 : 80) : Number(url.port);
  const basePath = url.pathname.replace(/\/$/, '');
  return port === 0 ? undefined : { protocol, host: url.hostname.replace(/^\[(.*)\]$/, '$1'), port, basePath, weight: 1 };
}
