// **Pair this app**: the page at which a signed-in user makes credentials for apps that cannot sign in, and removes them.
import type { Device, DeviceAuthority, PairRefusal } from '#model/identity.ts';
import type { Exchange } from '../http/exchange.ts';
import type { FormField, PageContent, PageForm } from '../pages/document.ts';
import type { Text } from '../pages/language.ts';
import { reasonStatus } from '../pages/reasons.ts';
import type { SignInPlace } from './backend.ts';
import type { CheckInput } from './check.ts';
import { liveSession } from './checks/session.ts';
import { readForm, sealForm } from './form.ts';
import { runChecks } from './pipeline.ts';
import { devicesPath } from './place.ts';
import { askToProve, type StepDeps } from './proof-steps.ts';
import { respondForm, respondOwn, respondRedirect, seeOtherStatus, type OwnAnswer } from './respond.ts';

export interface DevicesDeps extends StepDeps {
  readonly devices: DeviceAuthority;
}

const title: Text = { en: 'Paired devices', de: 'Gekoppelte Geräte' };
const problems: Readonly<Record<PairRefusal, Text>> = {
  not_signed_in: { en: 'Sign in again.', de: 'Melden Sie sich noch einmal an.' },
  not_offered: { en: 'No devices are paired here.', de: 'Hier werden keine Geräte gekoppelt.' },
  name_invalid: { en: 'A device has a name of 1 to 64 characters.', de: 'Ein Gerät hat einen Namen von 1 bis 64 Zeichen.' },
  too_many: { en: 'There are too many devices. Remove one first.', de: 'Es sind zu viele Geräte. Entfernen Sie zuerst eines.' },
};

/** Answers the page and its forms. Only who has proven all that the service asks for gets to see it. */
export async function answerDevices(exchange: Exchange, deps: DevicesDeps, place: SignInPlace, input: CheckInput, id: string): Promise<OwnAnswer> {
  const { subject, signal } = input;
  const { devices, pages } = deps;
  const own = (reason: 'not_found' | 'not_signed_in' | 'form_foreign' | 'bad_request' | 'body_too_large'): OwnAnswer => ({
    status: reasonStatus(reason),
    reason,
    send: () => respondOwn(exchange, pages, { reason, id }),
  });
  if (subject.service?.mapping.access.devices !== true) return own('not_found');
  const verdict = await runChecks([liveSession], input);
  if (verdict?.kind === 'challenge') return (await askToProve(exchange, deps, place, subject, verdict, signal, id)) ?? own('not_signed_in');
  if (verdict?.kind !== 'allow' || verdict.session === undefined) return own('not_signed_in');
  const { id: session, serviceId } = verdict.session;
  const show = async (status: number, more: Pick<PageContent, 'texts' | 'code'>): Promise<OwnAnswer> => {
    const list = await devices.listDevices(session, serviceId, signal);
    const seal = sealForm(subject.cookies);
    const content = devicesContent(status, list, seal.value, more);
    return { status, reason: 'devices', send: () => respondForm(exchange, pages, content, { setCookies: seal.setCookies }) };
  };
  if (subject.method !== 'POST') return await show(200, { texts: [] });
  const form = await readForm(exchange, place, subject.cookies, signal);
  if (form === 'foreign') return own('form_foreign');
  if (form === 'malformed') return own('bad_request');
  if (form === 'body_too_large') return own(form);
  const removed = form.get('remove');
  if (removed !== null) {
    await devices.revokeDevice(session, serviceId, removed, signal);
    const location = place.origin + devicesPath;
    return { status: seeOtherStatus, reason: 'device_revoked', send: () => respondRedirect(exchange, location, [], seeOtherStatus) };
  }
  const paired = await devices.pairDevice(session, serviceId, form.get('name') ?? '', signal);
  if ('refused' in paired) return await show(400, { texts: [problems[paired.refused]] });
  const { reason: _reason, ...answer } = await show(200, { texts: howTo(place, paired.device), code: paired.secret });
  return { ...answer, reason: 'device_paired' };
}

function howTo({ origin }: SignInPlace, { name }: Device): readonly Text[] {
  return [
    {
      en: `This is the credential of "${name}". It is not shown again.`,
      de: `Das ist der Zugang von „${name}“. Er wird nicht noch einmal gezeigt.`,
    },
    {
      en: `Give it to the app as its password (with any user name), as the header X-Meshgate-Device, or in the address: ${origin}/.meshgate/d/CREDENTIAL/`,
      de: `Geben Sie ihn der App als Passwort (mit beliebigem Benutzernamen), als Kopfzeile X-Meshgate-Device, oder in der Adresse: ${origin}/.meshgate/d/ZUGANG/`,
    },
  ];
}

function devicesContent(status: number, list: readonly Device[], seal: string, more: Pick<PageContent, 'texts' | 'code'>): PageContent {
  const hidden = (name: string, value: string): FormField => ({ name, label: title, type: 'hidden', value });
  const pair: PageForm = {
    action: devicesPath,
    fields: [hidden('seal', seal), { name: 'name', label: { en: 'Name of the device', de: 'Name des Geräts' }, type: 'text', autocomplete: 'off' }],
    submit: { en: 'Pair a device', de: 'Gerät koppeln' },
  };
  const remove = list.map(({ id, name }): PageForm => ({
    action: devicesPath,
    fields: [hidden('seal', seal), hidden('remove', id)],
    submit: { en: `Remove ${name}`, de: `${name} entfernen` },
  }));
  return { status, title, ...more, forms: [pair, ...remove], reference: '' };
}
