// DNS labels of peers: one label, unique in the network.
import { newId, type RandomBytes } from './ids.ts';

const maxLabel = 63;

/** The label that a name asks for: lower-case letters, digits and hyphens, `peer` where nothing is left. */
function labelOf(name: string): string {
  const label = (name.toLowerCase().split('.')[0] ?? '')
    .normalize('NFKD')
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-+|-+$/g, '')
    .slice(0, maxLabel)
    .replaceAll(/-+$/g, '');
  return label === '' ? 'peer' : label;
}

/**
 * A label nobody has: the name's own, else with the last two octets of the address, which no other peer shares. Ephemeral peers always get
 * the latter, as theirs come and go.
 */
export async function freeLabel(
  name: string,
  ipv4: string,
  ephemeral: boolean,
  isTaken: (label: string) => Promise<boolean>,
  random: RandomBytes,
): Promise<string> {
  const plain = labelOf(name);
  if (!ephemeral && !(await isTaken(plain))) return plain;
  const suffix = `-${ipv4.split('.').slice(2).join('-')}`;
  const suffixed = plain.slice(0, maxLabel - suffix.length) + suffix;
  if (!(await isTaken(suffixed))) return suffixed;
  return `${plain.slice(0, maxLabel - 21)}-${newId(random)}`;
}
