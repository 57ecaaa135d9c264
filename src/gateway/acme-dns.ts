// Who proves names in DNS, as the settings `acme.dns` say.
import { sleep } from '#lib/backoff.ts';
import type { DnsRecords } from '#publish/certs/acme/dns-records.ts';
import type { AcmeSettings } from './acme-config.ts';
import { readConfigured } from './configured-file.ts';
import { gatewayError } from './errors.ts';

/** Undefined where dns-01 is not configured. GATEWAY_ACME_DNS where it is half configured. */
export async function openDnsRecords(settings: AcmeSettings['dns'], env: NodeJS.ProcessEnv = process.env): Promise<DnsRecords | undefined> {
  const records = await openPlain(settings, env);
  if (records === undefined || settings.wait === 0) return records;
  return {
    add: async (name, value, signal) => {
      await records.add(name, value, signal);
      await sleep(settings.wait, signal);
    },
    remove: records.remove,
  };
}

async function openPlain(settings: AcmeSettings['dns'], env: NodeJS.ProcessEnv): Promise<DnsRecords | undefined> {
  const { server, zone, keyName, keyAlgorithm, keyFile, command, commandEnv } = settings;
  if (command.length > 0) {
    const { dnsCommandRecords } = await import('#publish/certs/acme/dns-command.ts');
    const given = ['PATH', 'HOME', ...commandEnv].flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]] as const]));
    return dnsCommandRecords({ command, env: Object.fromEntries(given) });
  }
  if (server === undefined) return undefined;
  if (keyName === undefined || keyFile === undefined) throw gatewayError('GATEWAY_ACME_DNS');
  const secret = Buffer.from((await readConfigured(keyFile)).trim(), 'base64');
  if (secret.length < 16) throw gatewayError('GATEWAY_ACME_DNS', 'the key is shorter than 16 bytes');
  const { dnsServerRecords } = await import('#publish/certs/acme/dns-server.ts');
  return dnsServerRecords({ server, zone, keyName, keyAlgorithm, secret });
}
