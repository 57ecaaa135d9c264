// What the paths see of WireGuard's messages: the first byte and the length.
const initiationType = 1;
const transportType = 4;
/** A transport message without a packet. */
const keepaliveBytes = 32;

/** A message with a packet inside: a keepalive is no traffic. */
export function carriesData(datagram: Uint8Array): boolean {
  return datagram[0] === transportType && datagram.length > keepaliveBytes;
}

export function isInitiation(datagram: Uint8Array): boolean {
  return datagram[0] === initiationType;
}
