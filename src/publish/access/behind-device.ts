// Where answers may send whoever came by a device's path.
import type { Behind } from '../http/location.ts';
import { devicePrefix } from './device-path.ts';
import { Place } from './place.ts';
import type { Subject } from './subject.ts';

/** Where whoever came by a device's path has to stay; undefined for all others. */
export function behindDevice(subject: Subject): Behind | undefined {
  const { deviceSecret, path, request } = subject;
  if (deviceSecret === undefined) return undefined;
  return { prefix: devicePrefix + deviceSecret, origin: new Place(subject).origin, authority: request.authority, path };
}
