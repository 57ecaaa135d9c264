// Our HTTP publisher in a process of its own, with one service for a signed-in caller.
import { writeFileSync } from 'node:fs';
import { Session as Inspector } from 'node:inspector/promises';
import { plainAccess, signInProofs } from '#model/access.ts';
import { mapping, path } from '../../publish/harness.ts';
import { answerQuestions } from './asking.ts';
import { startPublisher } from './publisher.ts';
import type { SubjectSetup } from './subjects.ts';

async function start({ host, upstreamPort, endlessPort, ...setup }: SubjectSetup): Promise<number> {
  const paths = [path(upstreamPort, { directUpstream: true }), path(endlessPort, { path: '/endless', directUpstream: true })];
  const access = { ...plainAccess, proofs: signInProofs };
  const { port } = await startPublisher({ ...setup, mappings: [mapping(host, paths, { access })] });
  return port;
}

const inspector = new Inspector();

answerQuestions({
  start,
  collect: () => {
    globalThis.gc?.();
  },
  startProfile: async () => {
    inspector.connect();
    await inspector.post('Profiler.enable');
    await inspector.post('Profiler.setSamplingInterval', { interval: 200 });
    await inspector.post('Profiler.start');
  },
  stopProfile: async (file: string) => {
    const { profile } = await inspector.post('Profiler.stop');
    inspector.disconnect();
    writeFileSync(file, JSON.stringify(profile));
  },
});
