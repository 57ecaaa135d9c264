// Run in a network namespace of its own by `system-mode.test.ts`: the whole product with an agent in system mode, and one request.
import { execFileSync } from 'node:child_process';
import { startMesh } from '../support/mesh.ts';

process.env['MESHGATE_AGENT_WIREGUARD_MODE'] = 'system';
const mesh = await startMesh();
const interfaces = execFileSync('ip', ['-o', 'addr'], { encoding: 'utf8' });
const curl = execFileSync('curl', ['-s', '--max-time', '10', '--cacert', mesh.caFile, '-H', mesh.tokenHeader, `${mesh.url}/some/path`], {
  encoding: 'utf8',
});
const agent = await mesh.status('agent');
const code = await mesh.stop();
const after = execFileSync('ip', ['-o', 'addr'], { encoding: 'utf8' });
console.log(JSON.stringify({ interfaces, curl, agent, code, after }));
