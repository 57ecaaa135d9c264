// Opens the UDP port of an overlay: the best kind that this machine has, with the reason where that is not the best there could be.
import { describeError } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import { overlayError } from '../errors.ts';
import { UDP_PORT_ATTEMPTS } from './constants.ts';
import { openDgramPort } from './dgram-port.ts';
import { NativePort } from './native-port.ts';
import type { DatagramEvents, DatagramPort, OpenDatagramPort, OpenDatagramPortAt, UdpAccelerator } from './port.ts';
import { nativeUdpFault } from './self-test.ts';

type OpenFamily = (type: 'udp6' | 'udp4', port: number) => DatagramPort | Promise<DatagramPort>;

/** Opens the port for both families, or for IPv4 where the host has no IPv6; where it is taken, one of the next. */
export const openDatagramPort: OpenDatagramPort = openReceivingInto(undefined);

/** The same, receiving into memory of `alloc` where the native port is used: memory that whoever gets the datagrams works in best. */
export function openReceivingInto(alloc: ((bytes: number) => Uint8Array) | undefined): OpenDatagramPort {
  return async (port, events, log) => {
    const fault = await nativeUdpFault(log);
    if (fault !== undefined) return openPlain(port, events, log, fault);
    try {
      return await openFamily(port, (type, at) => NativePort.open(type === 'udp6' ? '::' : '0.0.0.0', at, events, log, alloc));
    } catch (error) {
      return openPlain(port, events, log, describeError(error));
    }
  };
}

/** The same on Node's own sockets, whatever the machine has. */
export const openPlainPort: OpenDatagramPort = (port, events, log) => openPlain(port, events, log, 'switched off');

/** Opens a port at one address: the best kind that this machine has. */
export const openPortAt: OpenDatagramPortAt = async (host, port, events, log) => {
  const fault = await nativeUdpFault(log);
  if (fault === undefined) return NativePort.open(host, port, events, log);
  return openPlainPortAt(host, port, events, log);
};

/** The same on Node's own sockets. */
export const openPlainPortAt: OpenDatagramPortAt = (host, port, events, log) =>
  openDgramPort(host.includes(':') ? 'udp6' : 'udp4', port, events, log, { kind: 'dgram', reason: 'switched off' }, host);

async function openPlain(port: number, events: DatagramEvents, log: Logger, reason: string): Promise<DatagramPort> {
  const accelerator: UdpAccelerator = { kind: 'dgram', reason };
  try {
    return await openFamily(port, (type, at) => openDgramPort(type, at, events, log, accelerator));
  } catch (error) {
    throw overlayError('OVERLAY_UDP_BIND', `port ${port}`, error);
  }
}

async function openFamily(port: number, open: OpenFamily): Promise<DatagramPort> {
  let failure: unknown;
  for (const type of ['udp6', 'udp4'] as const) {
    for (let attempt = 0; attempt < UDP_PORT_ATTEMPTS && port + attempt < 65_536; attempt++) {
      try {
        return await open(type, port === 0 ? 0 : port + attempt);
      } catch (error) {
        failure = error;
        if (port === 0 || systemCode(error) !== 'EADDRINUSE') break;
      }
    }
  }
  throw failure;
}

function systemCode(error: unknown): unknown {
  if (!(error instanceof Error)) return undefined;
  return 'system' in error ? error.system : 'code' in error ? error.code : undefined;
}
