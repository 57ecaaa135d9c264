// The lab with everything public in it: signal, relay, STUN, and coturn where it is installed.
import type { TurnEndpoint } from '#model/network-map.ts';
import { type Coturn, startCoturn, whyNoCoturn } from './coturn.ts';
import { Lab, publicAddress } from './lab.ts';
import { type Center, startCenter } from './meeting.ts';

export const turn: readonly TurnEndpoint[] = [{ url: `turn:${publicAddress.v4}:3478?transport=udp`, username: 'anna', password: 'secret' }];

export interface World {
  readonly lab: Lab;
  readonly center: Center;
  readonly coturn: Coturn | undefined;
}

export async function openWorld(): Promise<World> {
  const lab = new Lab();
  try {
    const center = await startCenter(lab);
    // Where this process dies, so does coturn.
    const before = ['setpriv', '--pdeathsig', 'KILL', ...lab.before(lab.public)];
    const coturn = whyNoCoturn() === '' ? await startCoturn({ host: publicAddress.v4, port: 3478, user: 'anna:secret', before }) : undefined;
    return { lab, center, coturn };
  } catch (error) {
    lab.close();
    throw error;
  }
}

export async function closeWorld({ lab, center, coturn }: World): Promise<void> {
  await center.stop();
  await coturn?.stop();
  lab.close();
}
