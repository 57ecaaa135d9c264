// Writes two versions of one certificate in turn until it is killed (kept.test.ts).
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import { KeptFiles } from '#publish/certs/acme/kept.ts';

const files = new KeptFiles(process.argv[2] ?? '', { clock: systemClock, log: silentLogger });
await files.open();
for (let version = 0; ; version++) {
  const text = String(version % 2).repeat(20_000);
  await files.saveCertificate({ names: ['a.test'], keyPem: text, chainPem: text, directory: 'https://ca.test/dir' });
  if (version === 0) process.stdout.write('writing\n');
}
