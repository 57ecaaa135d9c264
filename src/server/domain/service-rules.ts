// What a service must look like, as far as the request itself says (netbird-features A1). Whether the things it names exist is asked later.
import { parsePrefix, formatPrefix, maskPrefix } from '#lib/ip.ts';
import { hasPages, serviceModes, type AccessRestrictions, type ServiceMode, type ServiceTarget } from '#model/service.ts';
import type { ProofKind } from '#model/access.ts';
import type { RouteMatch } from '#model/web.ts';
import { checkAccess } from './access-rules.ts';
import { canonicalDomain, checkName } from './checks.ts';
import { cidrsPerList, countriesPerList, basicUsersPerService, headerAuthsPerService, targetsPerService } from './constants.ts';
import type { ServiceInput } from './contract.ts';
import { invalid } from './errors.ts';
import { headerName } from './match-rules.ts';
import { checkSessionTimes } from './session-times.ts';
import { checkStream } from './stream-rules.ts';
import { checkTarget } from './target-rules.ts';
import { checkWeb } from './web-rules.ts';

/** The request in its canonical form: names trimmed, domains and hosts in lower case. */
export function checkService(request: ServiceInput): ServiceInput {
  if (!serviceModes.includes(request.mode)) throw invalid(`The mode must be one of ${serviceModes.join(', ')}.`);
  const domain = canonicalDomain(request.domain);
  if (domain === undefined) throw invalid('The domain is not a host name.');
  checkWildcard(domain, request);
  // A service of ranges alone listens on the first port of the first one.
  const listenPort = request.listenPort ?? request.stream.portRanges.toSorted((a, b) => a.start - b.start)[0]?.start;
  checkListenPort(request.mode, listenPort);
  checkSecrets(request);
  checkAsked(request);
  if (request.private) checkPrivate(request);
  if (request.tlsAt === 'agent') checkTlsAtAgent(request);
  checkSessionTimes(request.access.session.maxAgeMs, request.access.session.idleMs);
  const { targets } = request;
  const web = checkWeb(request.mode, request.web);
  if (targets.length === 0 && web.answers.length === 0) throw invalid('A service needs a target.');
  if (targets.length > targetsPerService) throw invalid(`A service has at most ${targetsPerService} targets.`);
  const checked = targets.map((target) => checkTarget(request.mode, target));
  const stream = checkStream(request.mode, listenPort, checked, request.stream);
  checkShares(checked);
  const routes = new Set(checked.map(({ path, options }) => keyOf({ path, match: options.match })));
  if (web.answers.some((answer) => routes.has(keyOf(answer)))) throw invalid('An answer is for the same requests as a target.');
  return {
    ...request,
    name: checkName(request.name, 'The name'),
    domain,
    listenPort,
    targets: checked,
    restrictions: checkRestrictions(request.restrictions),
    access: checkAccess(request.mode, request.access),
    web,
    stream,
  };
}

/** People cannot sign in at the page of a name that stands for many. */
function checkWildcard(domain: string, service: ServiceInput): void {
  const { mode } = service;
  if (!domain.startsWith('*') || mode === 'http') return;
  if (mode !== 'tls') throw invalid('Only an http or tls service can have a wildcard domain: others are not told apart by name.');
  if (hasPages(service)) throw invalid('A tls service with a wildcard domain has no page to sign in at.');
}

/** Targets that share the load of a path differ in where they are and in their weight only: a request may meet any of them. */
function checkShares(targets: readonly ServiceTarget[]): void {
  const shared = new Map<string, string>();
  const places = new Set<string>();
  for (const { path, protocol, options, targetType, targetId, host, port } of targets) {
    const key = keyOf({ path, match: options.match });
    const same = JSON.stringify([protocol, { ...options, weight: 0 }]);
    if ((shared.get(key) ?? same) !== same) throw invalid(`The targets of the path ${path} share its load, so their options must be the same.`);
    shared.set(key, same);
    const place = `${key} ${targetType} ${targetId} ${host} ${port}`;
    if (places.has(place)) throw invalid(`A target of the path ${path} is there twice. Give it a larger weight instead.`);
    places.add(place);
  }
}

function keyOf({ path, match }: { readonly path: string; readonly match: RouteMatch }): string {
  return `${path} ${JSON.stringify(match)}`;
}

function checkListenPort(mode: ServiceMode, port: number | undefined): void {
  if (port === undefined) {
    if (mode === 'tls') throw invalid('A tls service needs a listen port.');
    return;
  }
  if (mode === 'http') throw invalid('An http service listens on the ports of its cluster: leave the listen port out.');
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw invalid('The listen port must be from 1 to 65535.');
}

/** Sign-in works for every mode; the other proofs need HTTP to be asked for. */
function checkSecrets({ mode, auth }: ServiceInput): void {
  const asks = auth.password?.enabled === true || auth.pin?.enabled === true || auth.headers.some((header) => header.enabled);
  if (mode !== 'http' && (asks || auth.basic?.enabled === true || auth.link?.enabled === true))
    throw invalid(`A ${mode} service cannot ask for a password, a PIN or a header.`);
  if (auth.password?.password === '') throw invalid('The password is empty.');
  if (auth.pin?.pin !== undefined && !/^[0-9]{6,12}$/.test(auth.pin.pin)) throw invalid('A PIN has 6 to 12 digits.');
  if (auth.headers.length > headerAuthsPerService) throw invalid(`A service checks at most ${headerAuthsPerService} headers.`);
  for (const { header, value } of auth.headers) {
    if (!headerName.test(header)) throw invalid(`"${header}" is not the name of a header.`);
    if (value === '') throw invalid(`The value of the header ${header} is empty.`);
  }
  checkBasic(auth.basic);
}

function checkBasic(basic: ServiceInput['auth']['basic']): void {
  if (basic === undefined) return;
  const names = basic.users.map(({ name }) => name);
  if (basic.enabled && names.length === 0) throw invalid('Basic authentication needs a user.');
  if (names.length > basicUsersPerService) throw invalid(`A service has at most ${basicUsersPerService} users of basic authentication.`);
  if (new Set(names).size !== names.length) throw invalid('Two users of basic authentication have the same name.');
  for (const { name, password } of basic.users) {
    // RFC 7617 §2: what is before the first colon is the name.
    if (!/^[^:\p{Cc}]{1,128}$/u.test(name)) throw invalid(`"${name}" is no user name: 1 to 128 characters, no colon.`);
    if (password !== undefined && !/^\P{Cc}+$/u.test(password)) throw invalid(`The password of the user ${name} is empty or has control characters.`);
  }
}

/** What a service asks for has to be switched on: a page would offer what nobody can do. */
function checkAsked({ auth, access }: ServiceInput): void {
  const on: Readonly<Record<ProofKind, boolean>> = {
    oidc: auth.oidc.enabled,
    password: auth.password?.enabled === true,
    pin: auth.pin?.enabled === true,
    header: auth.headers.some((header) => header.enabled),
    basic: auth.basic?.enabled === true,
    token: true,
    link: auth.link?.enabled === true,
    device: access.devices,
    certificate: true,
    peer: true,
  };
  const missing = [access.proofs, ...access.rules.map(({ proofs }) => proofs)].flat(2).find((kind) => !on[kind]);
  if (missing !== undefined) throw invalid(`The access asks for the proof ${missing}, which is not switched on.`);
}

function checkPrivate({ mode, domain, auth, accessGroups }: ServiceInput): void {
  if (domain.startsWith('*')) throw invalid('A private service has one name: peers are told its address.');
  if (mode !== 'http') throw invalid('Only an http service can be private.');
  if (accessGroups.length === 0) throw invalid('A private service needs an access group.');
  if (auth.oidc.enabled) throw invalid('A private service has no sign-in: its visitors are peers.');
}

/** The agent of one peer has the key and asks who somebody is; the gateway can tell it nothing but the visitor's address. */
function checkTlsAtAgent({ mode, domain, private: isPrivate, targets, accessGroups, access, web }: ServiceInput): void {
  if (mode !== 'http') throw invalid('Only for an http service can it be said where TLS ends: for a tls service it is the target, or see stream.');
  if (isPrivate || accessGroups.length > 0) throw invalid('A service whose TLS ends at the agent is not for visitors over the mesh.');
  if (domain.startsWith('*')) throw invalid('A service whose TLS ends at the agent has one name.');
  const [target] = targets;
  if (targets.length !== 1 || target === undefined || target.targetType !== 'peer' || target.path !== '/' || web.answers.length > 0)
    throw invalid('A service whose TLS ends at the agent has one target, a peer, for the path /, and no answers of its own.');
  if (target.options.directUpstream) throw invalid('A service whose TLS ends at the agent cannot be dialled directly.');
  if (access.rules.some(({ when }) => when.countries.length > 0 || when.networks.length > 0))
    throw invalid('A rule by country or network cannot be decided at the agent: use the access restrictions, which the gateway holds to.');
}

function checkRestrictions(restrictions: AccessRestrictions): AccessRestrictions {
  const { crowdsecMode } = restrictions;
  if (!['off', 'enforce', 'observe'].includes(crowdsecMode)) throw invalid('The CrowdSec mode must be off, enforce or observe.');
  return {
    allowedCidrs: restrictions.allowedCidrs.map(checkCidr).slice(0, checkLength(restrictions.allowedCidrs, cidrsPerList, 'networks')),
    blockedCidrs: restrictions.blockedCidrs.map(checkCidr).slice(0, checkLength(restrictions.blockedCidrs, cidrsPerList, 'networks')),
    allowedCountries: checkCountries(restrictions.allowedCountries),
    blockedCountries: checkCountries(restrictions.blockedCountries),
    crowdsecMode,
  };
}

function checkLength(list: readonly string[], limit: number, what: string): number {
  if (list.length > limit) throw invalid(`A list has at most ${limit} ${what}.`);
  return list.length;
}

function checkCidr(text: string): string {
  const prefix = parsePrefix(text);
  if (prefix === undefined) throw invalid(`"${text}" is not a network such as 192.0.2.0/24.`);
  const canonical = formatPrefix(prefix);
  if (formatPrefix(maskPrefix(prefix)) !== canonical) throw invalid(`${text} has host bits: write ${formatPrefix(maskPrefix(prefix))}.`);
  return canonical;
}

function checkCountries(list: readonly string[]): readonly string[] {
  checkLength(list, countriesPerList, 'countries');
  return list.map((text) => {
    const code = text.toUpperCase();
    if (!/^[A-Z]{2}$/.test(code)) throw invalid(`"${text}" is not a country code of two letters.`);
    return code;
  });
}
