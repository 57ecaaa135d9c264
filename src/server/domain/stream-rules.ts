// What the parts of a TCP, TLS or UDP service beyond NetBird's shapes must look like.
import { X509Certificate } from 'node:crypto';
import type { ClientCertificateRule } from '#model/client-certificate.ts';
import type { ServiceMode, ServiceTarget } from '#model/service.ts';
import {
  type ConnectCheck,
  defaultStream,
  listenPorts,
  portsPerService,
  type StreamOptions,
  targetRanges,
  type TlsTermination,
} from '#model/stream.ts';
import { invalid } from './errors.ts';

/** In its canonical form: ranges in the order of their ports. */
export function checkStream(
  mode: ServiceMode,
  listenPort: number | undefined,
  targets: readonly ServiceTarget[],
  stream: StreamOptions,
): StreamOptions {
  if (mode === 'http') {
    if (JSON.stringify(stream) !== JSON.stringify(defaultStream)) throw invalid('Stream options are not for http services.');
    return defaultStream;
  }
  if (stream.termination !== undefined) checkTermination(mode, targets, stream.termination);
  else if (mode === 'tls' && targets.some(({ protocol }) => protocol === 'tls')) throw invalid('TLS that is passed on is not put into TLS again.');
  if (stream.healthCheck !== undefined) checkHealth(mode, stream.healthCheck);
  if (stream.certificates.ssh !== undefined && mode === 'udp') throw invalid('An SSH server is no udp service.');
  const portRanges = stream.portRanges.toSorted((a, b) => a.start - b.start);
  checkRanges(mode, listenPort, targets, portRanges);
  return { ...stream, portRanges };
}

function checkRanges(
  mode: ServiceMode,
  listenPort: number | undefined,
  targets: readonly ServiceTarget[],
  ranges: StreamOptions['portRanges'],
): void {
  if (ranges.length === 0) return;
  if (mode === 'tls') throw invalid('A tls service listens on one port.');
  for (const [i, { start, end, target }] of ranges.entries()) {
    const before = ranges[i - 1];
    if (start > end) throw invalid(`The range ${start}-${end} ends before it begins.`);
    if (before !== undefined && before.end >= start)
      throw invalid(`The ranges ${before.start}-${before.end} and ${start}-${end} have ports in common.`);
    if (target !== undefined && target + end - start > 65_535) throw invalid(`The range ${start}-${end} leads to ports beyond 65535.`);
  }
  if (listenPorts(listenPort, ranges).length > portsPerService) throw invalid(`A service has at most ${portsPerService} ports.`);
  for (const { port } of targets) {
    for (const { start, end } of targetRanges(listenPort, port, ranges)) {
      if (start < 1 || end > 65_535) throw invalid(`Ports from ${start} to ${end} at a target: they must be from 1 to 65535.`);
    }
  }
}

function checkTermination(mode: ServiceMode, targets: readonly ServiceTarget[], { alpn, tellTarget, clientCertificate }: TlsTermination): void {
  if (mode !== 'tls') throw invalid('Only a tls service ends TLS at the gateway.');
  if (alpn.some((name) => !/^[\x21-\x7e]{1,255}$/.test(name))) throw invalid('A protocol has 1 to 255 printable characters.');
  if (alpn.includes('acme-tls/1')) throw invalid('The protocol acme-tls/1 is the gateway’s own.');
  const told = targets.every(({ options }) => options.proxyProtocol && options.proxyProtocolVersion === 2);
  if (tellTarget && !told) throw invalid('Telling the target of TLS needs the PROXY protocol, version 2.');
  if (clientCertificate !== undefined) checkClientCertificate(clientCertificate);
}

/** Every certificate of the bundle can be read, and there is one. */
export function checkClientCertificate({ ca, account }: ClientCertificateRule): void {
  if (account === true) {
    if (ca.trim() !== '') throw invalid('Client certificates are of the account’s own authority, or of those that are named: not of both.');
    return;
  }
  const blocks = ca.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  const rest = blocks.reduce((text, block) => text.replace(block, ''), ca);
  if (blocks.length === 0 || /-----(?:BEGIN|END)/.test(rest))
    throw invalid('The authorities of client certificates are one or more certificates in PEM form.');
  for (const block of blocks) {
    let isAuthority: boolean;
    try {
      isAuthority = new X509Certificate(block).ca;
    } catch {
      throw invalid('A certificate among the authorities of client certificates cannot be read.');
    }
    if (!isAuthority) throw invalid('A certificate among the authorities of client certificates is not one of an authority.');
  }
}

function checkHealth(mode: ServiceMode, { intervalMs, timeoutMs }: ConnectCheck): void {
  if (mode === 'udp') throw invalid('Targets of udp services cannot be checked: nothing answers but their own protocol.');
  if (timeoutMs > intervalMs) throw invalid('A health check’s time limit is at most its interval.');
}
