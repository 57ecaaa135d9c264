// `meshgate doctor HOST`: why a published host does not work, asked of everybody who could know, in the order of a request's way.
import { describeError } from '#lib/errors.ts';
import { resolveHost } from '#lib/resolve.ts';
import { asRows } from '../api-command.ts';
import type { ApiClient } from '../api-client.ts';
import { field } from '../output.ts';
import { askGateway, lookAtCertificate, reachPort } from './probe.ts';

/** One thing that was looked at. `fix` says what to do where it is not well. */
export interface Finding {
  readonly stage: string;
  readonly ok: boolean;
  readonly text: string;
  readonly fix?: string | undefined;
}

export interface Patient {
  readonly api: ApiClient;
  /** As typed, in lower case. */
  readonly host: string;
  /** Public HTTPS port of the gateways. */
  readonly port: number;
  readonly path: string;
  /** PEM of a private authority that certificates may come from. */
  readonly ca: string | undefined;
  readonly stop: AbortSignal;
}

export const services = '/api/reverse-proxies/services';
/** One look from outside, milliseconds. */
const lookMs = 10_000;
const askMs = 20_000;
const soonMs = 7 * 86_400_000;
/** Addresses of a name that are looked at. */
const maxAddresses = 8;

/** Looks at everything, from the configuration to the target's answer. What cannot be looked at is a finding too. */
export async function examine(patient: Patient): Promise<readonly Finding[]> {
  const service = await findService(patient.api, patient.host);
  if (service === undefined) {
    const fix = '`meshgate service list` tells what there is; `meshgate service create` makes one';
    return [{ stage: 'service', ok: false, text: `no service has the host ${patient.host}`, fix }];
  }
  return [...(await lookAtService(patient.api, service)), ...(await lookFromOutside(patient, service))];
}

/** The exact host first, else the wildcard that stands for its first label. */
export async function findService(api: ApiClient, host: string): Promise<unknown> {
  const rows = asRows(await api.call('GET', services));
  const wildcard = `*.${host.split('.').slice(1).join('.')}`;
  return rows.find((row) => field(row, 'domain') === host) ?? rows.find((row) => field(row, 'domain') === wildcard);
}

/** What the control plane knows. */
async function lookAtService(api: ApiClient, service: unknown): Promise<readonly Finding[]> {
  const name = field(service, 'name');
  const findings: Finding[] = [];
  const enabled = field(service, 'enabled') === 'true';
  findings.push({
    stage: 'service',
    ok: enabled,
    text: `service ${name} (${field(service, 'mode')}) is ${enabled ? 'enabled' : 'switched off'}`,
    ...(enabled ? {} : { fix: `meshgate service enable ${name}` }),
  });
  const cluster = field(service, 'proxy_cluster');
  const known = asRows(await api.call('GET', '/api/reverse-proxies/clusters')).find((row) => field(row, 'address') === cluster);
  const online = known !== undefined && field(known, 'online') === 'true';
  findings.push({
    stage: 'gateway',
    ok: online,
    text: online ? `${field(known, 'connected_proxies')} gateway(s) of ${cluster} are connected` : `no gateway of ${cluster} is connected`,
    ...(online ? {} : { fix: 'start the gateway, and look at `meshgate status` on its machine' }),
  });
  const state = field(service, 'meta', 'status');
  const reason = field(service, 'meta', 'status_reason');
  findings.push({
    stage: 'state',
    ok: state === 'active',
    text: `the gateways say: ${state}${reason === '' ? '' : `, ${reason}`}`,
  });
  findings.push(...(await lookAtPeers(api, service)));
  return findings;
}

async function lookAtPeers(api: ApiClient, service: unknown): Promise<readonly Finding[]> {
  const targets = typeof service === 'object' && service !== null && 'targets' in service ? asRows(service.targets) : [];
  const ids = new Set(targets.filter((target) => field(target, 'target_type') === 'peer').map((target) => field(target, 'target_id')));
  if (ids.size === 0) return [];
  const peers = asRows(await api.call('GET', '/api/peers'));
  return [...ids].map((id): Finding => {
    const peer = peers.find((row) => field(row, 'id') === id);
    if (peer === undefined) {
      return { stage: 'peer', ok: false, text: `the target ${id} is gone`, fix: 'give the service another target (`meshgate service update`)' };
    }
    const connected = field(peer, 'connected') === 'true';
    const name = field(peer, 'name');
    return {
      stage: 'peer',
      ok: connected,
      text: connected ? `peer ${name} is connected` : `peer ${name} is not connected, last seen ${field(peer, 'last_seen')}`,
      ...(connected ? {} : { fix: `start the agent on ${name}, and look at \`meshgate status\` there` }),
    };
  });
}

/** What a visitor meets, and what the gateways say to somebody who may know. */
async function lookFromOutside(patient: Patient, service: unknown): Promise<readonly Finding[]> {
  const { host } = patient;
  let addresses: readonly string[];
  try {
    addresses = (await resolveHost(host)).slice(0, maxAddresses);
  } catch (error) {
    const fix = `make a DNS record that leads ${host} to the gateway's public address`;
    return [{ stage: 'dns', ok: false, text: `${host} has no address: ${describeError(error)}`, fix }];
  }
  const findings: Finding[] = [{ stage: 'dns', ok: true, text: `${host} is ${addresses.join(', ')}` }];
  const looks = await Promise.all(addresses.map((address) => lookAtAddress(patient, service, address)));
  // A name may have an address of a kind that this machine or the gateway lacks; one that answers is enough.
  const some = looks.some((look) => look.every(({ ok }) => ok));
  for (const [i, look] of looks.entries()) {
    const at = addresses.length > 1 ? ` (${addresses[i] ?? ''})` : '';
    if (!some || look.length > 1) findings.push(...look.map((finding) => ({ ...finding, text: finding.text + at })));
  }
  return findings;
}

async function lookAtAddress(patient: Patient, service: unknown, address: string): Promise<readonly Finding[]> {
  const { host, port, ca, stop } = patient;
  const limit = (): AbortSignal => AbortSignal.any([stop, AbortSignal.timeout(lookMs)]);
  const findings: Finding[] = [];
  try {
    const { ms } = await reachPort(address, port, limit());
    findings.push({ stage: 'tcp', ok: true, text: `port ${port} takes connections, after ${ms.toFixed(0)} ms` });
  } catch (error) {
    const fix = 'is this the address of the gateway, does it run, and does a firewall let the port through?';
    return [{ stage: 'tcp', ok: false, text: `port ${port} of ${address}: ${describeError(error)}`, fix }];
  }
  try {
    const { problem, issuer, validTo } = await lookAtCertificate(host, address, port, ca, limit());
    const left = validTo.getTime() - Date.now();
    findings.push({
      stage: 'tls',
      ok: problem === undefined,
      text: `certificate of ${issuer}, until ${validTo.toISOString().slice(0, 10)}${problem === undefined ? '' : `: ${problem}`}`,
      ...(problem === undefined ? {} : { fix: '`meshgate certificate list` tells what is wrong with it; for a private authority give --ca' }),
    });
    if (problem !== undefined) return findings;
    if (left < soonMs)
      findings.push({ stage: 'tls', ok: false, text: 'it ends within a week', fix: '`meshgate certificate list` says what comes next' });
  } catch (error) {
    const fix = 'the gateway has no certificate for this host (`meshgate certificate list`), or something else holds the port';
    return [...findings, { stage: 'tls', ok: false, text: `no TLS handshake: ${describeError(error)}`, fix }];
  }
  return [...findings, ...(await askAt(patient, service, address))];
}

async function askAt({ api, host, port, ca, path, stop }: Patient, service: unknown, address: string): Promise<readonly Finding[]> {
  const token = field(await api.call('POST', `${services}/${encodeURIComponent(field(service, 'id'))}/diagnosis`, {}), 'token');
  try {
    const { status, body } = await askGateway({ host, address, port, ca, token, path }, AbortSignal.any([stop, AbortSignal.timeout(askMs)]));
    const steps = typeof body === 'object' && body !== null && 'steps' in body ? asRows(body.steps) : undefined;
    if (steps === undefined) {
      const fix = 'does DNS lead to a gateway of this account, and is that connected to this server?';
      return [{ stage: 'gateway', ok: false, text: `what answers there gives no diagnosis (status ${status})`, fix }];
    }
    return steps.map((step): Finding => {
      const [ms, fix] = [field(step, 'ms'), field(step, 'fix')];
      const text = `${field(step, 'text')}${ms === '' ? '' : `, after ${Number(ms).toFixed(0)} ms`}`;
      return { stage: field(step, 'stage'), ok: field(step, 'ok') === 'true', text, ...(fix === '' ? {} : { fix }) };
    });
  } catch (error) {
    return [{ stage: 'gateway', ok: false, text: `the gateway gives no diagnosis: ${describeError(error)}`, fix: 'look at its log' }];
  }
}
