// How the gateway's own pages look, from its configuration.
import { readFile } from 'node:fs/promises';
import { logoUrl, plainBrand, type Brand } from '#publish/index.ts';
import type { GatewayConfig } from './config.ts';
import { maxLogoBytes } from './constants.ts';
import { gatewayError } from './errors.ts';

/** GATEWAY_FILE_UNREADABLE, GATEWAY_LOGO. */
export async function openBrand({ name, logoFile, color, contact }: GatewayConfig['pages']): Promise<Brand> {
  return { name, logo: logoFile === undefined ? plainBrand.logo : await readLogo(logoFile), color, contact };
}

async function readLogo(path: string): Promise<string> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw gatewayError('GATEWAY_FILE_UNREADABLE', path, error);
  }
  const url = bytes.length > maxLogoBytes ? undefined : logoUrl(bytes);
  if (url === undefined) throw gatewayError('GATEWAY_LOGO', path);
  return url;
}
