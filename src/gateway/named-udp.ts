// UDP to targets that are names: each flow finds the address by itself, and only its own first datagrams wait for that.
import { parseIp } from '#lib/ip.ts';
import { type OpenUdpFlow, sendRun, type UdpFlow } from '#lib/net.ts';
import { maxWaitingDatagrams, udpResolveMs } from './constants.ts';

/** `open` for names too; addresses go straight to it. `resolve` finds a name's addresses, the best first, and rejects where that cannot be told. */
export function namedUdp(open: OpenUdpFlow, resolve: (name: string, signal: AbortSignal) => Promise<readonly string[]>): OpenUdpFlow {
  return (to, received, failed, receivedRun) => {
    if (parseIp(to.address) !== undefined) return open(to, received, failed, receivedRun);
    const gone = new AbortController();
    let waiting: Uint8Array[] = [];
    let flow: UdpFlow | undefined;
    const find = async (): Promise<void> => {
      const [address] = await resolve(to.address, AbortSignal.any([gone.signal, AbortSignal.timeout(udpResolveMs)]));
      if (gone.signal.aborted) return;
      if (address === undefined) throw new TypeError(`nobody knows ${to.address}`);
      flow = open({ address, port: to.port }, received, failed, receivedRun);
      for (const bytes of waiting) flow.send(bytes);
      waiting = [];
    };
    find().catch(() => {
      if (!gone.signal.aborted) failed();
    });
    return {
      send,
      sendRun: (run, size) => {
        if (flow !== undefined) sendRun(flow, run, size);
        else for (let at = 0; at < run.length; at += size) send(run.subarray(at, at + size));
      },
      close: () => {
        gone.abort();
        waiting = [];
        flow?.close();
      },
    };

    function send(bytes: Uint8Array): void {
      if (flow !== undefined) flow.send(bytes);
      else if (!gone.signal.aborted && waiting.length < maxWaitingDatagrams) waiting.push(Uint8Array.from(bytes));
    }
  };
}
