// Networks to try paths in: namespaces with NATs of each kind between them and a public network, made with nftables and removed afterwards.
import { hasProgram, Namespaces, whyNoNamespaces } from '../../support/namespaces.ts';

/**
 * `open`: a public address. `cone`: anybody may send to the mapping. `restricted`: one mapping, only who was sent to may answer (what Linux
 * does by itself). `symmetric`: another port for every destination. `double`: two restricted ones in a row. `blocked`: no UDP at all.
 * `six`: IPv6 only, behind a firewall that lets nothing in unasked.
 */
export type NatKind = 'open' | 'cone' | 'restricted' | 'symmetric' | 'double' | 'blocked' | 'six';

export const publicAddress = { v4: '192.0.2.1', v6: '2001:db8:1::1' } as const;
/** The port that peers use, so that a cone's rule can name it. */
export const peerPort = 51_820;

/** Why this machine cannot run the lab; empty where it can. */
export function whyNoLab(): string {
  return whyNoNamespaces('nft') ?? '';
}

/** Whether mappings of a NAT can be made to end. */
export function whyNoFlush(): string {
  return hasProgram('conntrack') ? '' : 'needs conntrack (Debian: conntrack)';
}

/** A peer's place in the lab. */
export interface Place {
  readonly name: string;
  readonly kind: NatKind;
  readonly namespace: string;
  /** The NAT next to the public network. */
  readonly nat: string | undefined;
}

export class Lab {
  readonly public: string;
  readonly #namespaces = new Namespaces();
  #count = 0;

  constructor() {
    this.public = this.#namespace('pub');
    this.#inside(this.public, [
      // With an address of its own. Else it takes the least of its ports' addresses, which are random: a port that is plugged in later could
      // change it, and what neighbours send to the old one is dropped until they ask again, after a minute.
      'ip link add inet address 02:00:00:00:00:01 type bridge',
      'ip link set inet up',
      `ip address add ${publicAddress.v4}/24 dev inet`,
      `ip address add ${publicAddress.v6}/64 dev inet nodad`,
      // What goes to private addresses vanishes, as on the real one. Without a route coturn would give up the whole relay.
      'ip link add null type veth peer name null0',
      'ip link set null0 up',
      'ip link set null arp off up',
      'ip route add default dev null',
    ]);
  }

  /** The words that come before a command to run it in a namespace of the lab. */
  before(namespace: string): readonly [string, ...string[]] {
    return this.#namespaces.before(namespace);
  }

  /** A new host behind a NAT of its own. */
  place(kind: NatKind): Place {
    const number = ++this.#count;
    const namespace = this.#namespace(`h${number}`);
    const name = `${kind}${number}`;
    const outer = `192.0.2.${number + 10}`;
    switch (kind) {
      case 'open':
        this.#plug(namespace, `n${number}`, [`ip address add ${outer}/24 dev eth0`]);
        return { name, kind, namespace, nat: undefined };
      case 'six':
        this.#plug(namespace, `n${number}`, [
          `ip address add 2001:db8:1::${number + 10}/64 dev eth0 nodad`,
          ...firewall,
          "nft 'add rule inet wall in icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept'",
        ]);
        return { name, kind, namespace, nat: undefined };
      case 'blocked':
      case 'cone':
      case 'double':
      case 'restricted':
      case 'symmetric': {
        const nat = this.#nat(kind === 'double' ? 'restricted' : kind, number, outer);
        const last = kind === 'double' ? this.#behind(nat, number) : nat;
        this.#wire(last, 'lan', `10.${number}.1.1`, namespace, `10.${number}.1.2`);
        if (kind === 'cone') this.#inside(nat, [dnat(`10.${number}.1.2`)]);
        return { name, kind, namespace, nat };
      }
    }
  }

  /** Two hosts in networks of their own behind one cone that lets them meet only at its outer address (hairpin). */
  hairpin(): readonly [Place, Place] {
    const number = ++this.#count;
    const nat = this.#nat('cone', number, `192.0.2.${number + 10}`);
    const places = [1, 2].map((side): Place & { readonly side: number } => {
      const namespace = this.#namespace(`h${number}x${side}`);
      return { name: `hairpin${side}`, kind: 'cone', namespace, nat, side };
    });
    for (const { namespace, side } of places) {
      this.#wire(nat, `lan${side}`, `10.${number}.${side}.1`, namespace, `10.${number}.${side}.2`);
    }
    const outer = `192.0.2.${number + 10}`;
    this.#inside(nat, [
      // The second one is seen at the port above.
      `nft 'add rule ip nat pre ip daddr ${outer} udp dport ${peerPort} dnat to 10.${number}.1.2:${peerPort}'`,
      `nft 'add rule ip nat pre ip daddr ${outer} udp dport ${peerPort + 1} dnat to 10.${number}.2.2:${peerPort}'`,
      'nft flush chain ip nat post',
      `nft 'add rule ip nat post ip saddr 10.${number}.1.2 udp sport ${peerPort} snat to ${outer}:${peerPort}'`,
      `nft 'add rule ip nat post ip saddr 10.${number}.2.2 udp sport ${peerPort} snat to ${outer}:${peerPort + 1}'`,
      'nft \'add rule ip nat post oifname "wan" masquerade\'',
      // From one to the other only what came by the outer address.
      "nft 'add table ip keep'",
      "nft 'add chain ip keep between { type filter hook forward priority 0; }'",
      'nft \'add rule ip keep between iifname "lan*" oifname "lan*" ct status dnat accept\'',
      'nft \'add rule ip keep between iifname "lan*" oifname "lan*" ct status snat accept\'',
      'nft \'add rule ip keep between iifname "lan*" oifname "lan*" drop\'',
    ]);
    const [first, second] = places;
    if (first === undefined || second === undefined) throw new TypeError('two places');
    return [first, second];
  }

  /** The NAT forgets all mappings, and shows the peer at another port from now on. */
  remap(place: Place, port: number): void {
    if (place.nat === undefined) throw new TypeError(`${place.name} has no NAT`);
    this.#inside(place.nat, [
      'nft flush chain ip nat post',
      `nft 'add rule ip nat post oifname "wan" udp sport ${peerPort} masquerade to :${port}'`,
      'nft \'add rule ip nat post oifname "wan" masquerade\'',
      'conntrack -F 2>/dev/null',
    ]);
  }

  close(): void {
    this.#namespaces.close();
  }

  #inside(namespace: string, commands: readonly string[]): void {
    this.#namespaces.in(namespace, ...commands);
  }

  #namespace(name: string): string {
    const namespace = this.#namespaces.add(name);
    this.#inside(namespace, ['sysctl -qw net.ipv4.ip_forward=1']);
    return namespace;
  }

  /** Connects a namespace to the public network. */
  #plug(namespace: string, port: string, commands: readonly string[], name = 'eth0'): void {
    this.#namespaces.join({ namespace, device: name }, { namespace: this.public, device: port });
    this.#inside(this.public, [`ip link set ${port} master inet up`]);
    this.#inside(namespace, [`ip link set ${name} up`, ...commands]);
  }

  #nat(kind: NatKind, number: number, outer: string): string {
    const namespace = this.#namespace(`r${number}`);
    this.#plug(namespace, `n${number}`, [`ip address add ${outer}/24 dev wan`], 'wan');
    this.#inside(namespace, [
      ...firewall,
      'nft add table ip nat',
      "nft 'add chain ip nat pre { type nat hook prerouting priority -100; }'",
      "nft 'add chain ip nat post { type nat hook postrouting priority 100; }'",
      `nft 'add rule ip nat post oifname "wan" masquerade ${kind === 'symmetric' ? 'fully-random' : ''}'`,
      ...(kind === 'blocked'
        ? [
            'nft add table ip keep',
            "nft 'add chain ip keep through { type filter hook forward priority 0; }'",
            "nft 'add rule ip keep through meta l4proto udp drop'",
          ]
        : []),
    ]);
    return namespace;
  }

  /** A second NAT behind the first. */
  #behind(first: string, number: number): string {
    const namespace = this.#namespace(`s${number}`);
    this.#wire(first, 'lan', `172.16.${number}.1`, namespace, `172.16.${number}.2`, 'wan');
    this.#inside(namespace, [
      ...firewall,
      'nft add table ip nat',
      "nft 'add chain ip nat post { type nat hook postrouting priority 100; }'",
      'nft \'add rule ip nat post oifname "wan" masquerade\'',
    ]);
    return namespace;
  }

  #wire(router: string, name: string, routerAddress: string, host: string, hostAddress: string, hostName = 'eth0'): void {
    this.#namespaces.join({ namespace: router, device: name }, { namespace: host, device: hostName });
    this.#inside(router, [`ip link set ${name} up`, `ip address add ${routerAddress}/24 dev ${name}`]);
    this.#inside(host, [
      `ip link set ${hostName} up`,
      `ip address add ${hostAddress}/24 dev ${hostName}`,
      `ip route add default via ${routerAddress}`,
    ]);
  }
}

/** Nothing comes in unasked. Without it a packet that comes too early would leave an entry that moves the mapping of the way out. */
const firewall = [
  'nft add table inet wall',
  "nft 'add chain inet wall in { type filter hook input priority 0; policy drop; }'",
  "nft 'add rule inet wall in ct state established,related accept'",
  'nft \'add rule inet wall in iifname "lo" accept\'',
];

function dnat(to: string): string {
  return `nft 'add rule ip nat pre iifname "wan" udp dport ${peerPort} dnat to ${to}:${peerPort}'`;
}
