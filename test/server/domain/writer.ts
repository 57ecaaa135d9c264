// Registers peers one after another and says each name once it has been acknowledged; a test kills it.
import { writeSync } from 'node:fs';
import { addPeersForEver } from './support.ts';

await addPeersForEver(process.argv[2] ?? '', (name) => writeSync(1, `${name}\n`));
