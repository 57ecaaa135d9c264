// What makes the data path fast where the machine has it, and what is used instead: the one place that chooses.
import type { AeadProvider } from '#crypto/aead.ts';
import { chooseAead } from '#crypto/aead-choice.ts';
import { openHostUdp } from '#lib/host-udp.ts';
import type { OpenUdpFlow } from '#lib/net.ts';
import { openNativeUdp } from './udp/ffi-flows.ts';
import { openPlainPort, openPlainPortAt, openPortAt, openReceivingInto } from './udp/open.ts';
import type { OpenDatagramPort, OpenDatagramPortAt } from './udp/port.ts';

/** `auto` takes the best that works here, `off` only what works everywhere. */
export type AcceleratorChoice = 'auto' | 'off';

export interface Accelerators {
  /** For one device: its memory is its own. */
  readonly aead: AeadProvider;
  readonly openPort: OpenDatagramPort;
  /** For sockets inside the overlay, in system mode. */
  readonly openPortAt: OpenDatagramPortAt;
}

export function chooseAccelerators(choice: AcceleratorChoice): Accelerators {
  const aead = chooseAead(choice === 'auto', () => performance.now());
  // Datagrams are received into the cipher's memory, so that opening them needs no copy.
  const auto = choice === 'auto';
  return { aead, openPort: auto ? openReceivingInto(aead.alloc) : openPlainPort, openPortAt: auto ? openPortAt : openPlainPortAt };
}

/** UDP of the host's own network, outside any overlay. */
export interface HostUdp {
  /** A port at one address of this host. */
  readonly listen: OpenDatagramPortAt;
  /** A socket with one remote end. */
  readonly open: OpenUdpFlow;
}

export function chooseHostUdp(choice: AcceleratorChoice): HostUdp {
  if (choice === 'off') return { listen: openPlainPortAt, open: openHostUdp };
  let open: OpenUdpFlow = (...args) => {
    try {
      return openNativeUdp(...args);
    } catch {
      // Not on this system.
      open = openHostUdp;
      return open(...args);
    }
  };
  return { listen: openPortAt, open: (...args) => open(...args) };
}
