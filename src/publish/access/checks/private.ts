// A private service is for peers of the mesh only, and who comes through the public listener is none.
import { deny, type Check } from '../check.ts';

export const notPrivate: Check = ({ subject }) =>
  subject.service?.mapping.private === false || subject.meshPeer !== undefined ? undefined : deny('private_service', '');
