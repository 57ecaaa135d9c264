// Files that the configuration names.
import { readFile } from 'node:fs/promises';
import { gatewayError } from './errors.ts';

/** GATEWAY_FILE_UNREADABLE. */
export async function readConfigured(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw gatewayError('GATEWAY_FILE_UNREADABLE', path, error);
  }
}
