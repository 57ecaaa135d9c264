// Why a request ends with an answer of our own: the status of each reason, and what a stranger may read of it, in every language of the pages.
// The texts are neutral: no names of services, peers or addresses. An id joins them to the log.
import type { DenyReason } from '#model/decision.ts';
import type { Text } from './language.ts';

/** Why a request ends here, beyond the checks: malformed, or the upstream failed. */
export type OwnReason =
  | DenyReason
  | 'bad_request'
  | 'form_foreign'
  | 'login_invalid'
  | 'login_denied'
  | 'not_found'
  | 'signed_out'
  | 'upstream_refused'
  | 'upstream_unreachable'
  | 'upstream_timeout'
  | 'upstream_bad_answer'
  | 'upstream_closed'
  | 'upstream_tls'
  | 'upstream_untrusted'
  | 'upstream_wrong_name'
  | 'upstream_expired'
  | 'upstream_protocol'
  | 'upstream_busy'
  | 'service_busy'
  | 'body_too_large'
  | 'loop'
  | 'draining';

export interface PublicReason {
  readonly status: number;
  readonly title: Text;
  readonly text: Text;
}

const notFound: PublicReason = {
  status: 404,
  title: { en: 'Not found', de: 'Nicht gefunden' },
  text: { en: 'There is nothing at this address.', de: 'Unter dieser Adresse gibt es nichts.' },
};
const noAccess: PublicReason = {
  status: 403,
  title: { en: 'No access', de: 'Kein Zugang' },
  text: {
    en: 'You cannot open this page. Ask the person who runs it.',
    de: 'Sie können diese Seite nicht öffnen. Fragen Sie, wer sie betreibt.',
  },
};
const signInNeeded: PublicReason = {
  status: 401,
  title: { en: 'Sign-in needed', de: 'Anmeldung nötig' },
  text: { en: 'Sign in to open this page.', de: 'Melden Sie sich an, um diese Seite zu öffnen.' },
};
const busy: PublicReason = {
  status: 503,
  title: { en: 'Busy', de: 'Ausgelastet' },
  text: {
    en: 'There are too many requests right now. Try again in a moment.',
    de: 'Gerade sind es zu viele Anfragen. Versuchen Sie es gleich noch einmal.',
  },
};
const unreachable: PublicReason = {
  status: 502,
  title: { en: 'Service unreachable', de: 'Dienst nicht erreichbar' },
  text: { en: 'The service could not be reached.', de: 'Der Dienst war nicht zu erreichen.' },
};

const publicReasons: Readonly<Record<OwnReason, PublicReason>> = {
  signed_out: {
    status: 200,
    title: { en: 'Signed out', de: 'Abgemeldet' },
    text: { en: 'You are signed out of this page.', de: 'Sie sind von dieser Seite abgemeldet.' },
  },
  bad_request: {
    status: 400,
    title: { en: 'Bad request', de: 'Ungültige Anfrage' },
    text: { en: 'The request could not be understood.', de: 'Die Anfrage war nicht zu verstehen.' },
  },
  form_foreign: {
    status: 403,
    title: { en: 'Not sent', de: 'Nicht gesendet' },
    text: {
      en: 'The form did not come from a page that this browser was shown here. Open the page again to start over.',
      de: 'Das Formular kam nicht von einer Seite, die dieser Browser hier gezeigt bekam. Öffnen Sie die Seite noch einmal, um von vorn zu beginnen.',
    },
  },
  login_invalid: {
    status: 400,
    title: { en: 'Sign-in did not finish', de: 'Anmeldung nicht beendet' },
    text: {
      en: 'The sign-in took too long or was begun elsewhere. Open the page again to start over.',
      de: 'Die Anmeldung dauerte zu lange oder begann anderswo. Öffnen Sie die Seite noch einmal, um von vorn zu beginnen.',
    },
  },
  not_signed_in: signInNeeded,
  session_expired: signInNeeded,
  session_revoked: signInNeeded,
  token_invalid: {
    ...signInNeeded,
    text: {
      en: 'The token that was sent does not open this page: it is wrong, has expired, or was revoked.',
      de: 'Das mitgeschickte Token öffnet diese Seite nicht: Es ist falsch, abgelaufen oder widerrufen.',
    },
  },
  credential_invalid: {
    ...signInNeeded,
    text: {
      en: 'The name, password or key that was sent does not open this page.',
      de: 'Der Name, das Passwort oder der Schlüssel, der mitgeschickt wurde, öffnet diese Seite nicht.',
    },
  },
  too_many_attempts: {
    status: 429,
    title: { en: 'Too many attempts', de: 'Zu viele Versuche' },
    text: {
      en: 'What was sent has been wrong too often. Wait before you try again.',
      de: 'Was geschickt wurde, war zu oft falsch. Warten Sie, bevor Sie es noch einmal versuchen.',
    },
  },
  ip_denied: noAccess,
  country_denied: noAccess,
  country_unknown: noAccess,
  crowdsec_denied: noAccess,
  crowdsec_unavailable: noAccess,
  rule_denied: noAccess,
  rate_limited: {
    status: 429,
    title: { en: 'Too many requests', de: 'Zu viele Anfragen' },
    text: {
      en: 'There were too many requests from here. Try again in a moment.',
      de: 'Von hier kamen zu viele Anfragen. Versuchen Sie es gleich noch einmal.',
    },
  },
  restriction_unsupported: noAccess,
  group_not_allowed: noAccess,
  issuer_not_allowed: {
    ...noAccess,
    text: {
      en: 'This page asks for a sign-in of another kind. Sign out, and sign in as it asks you to.',
      de: 'Diese Seite verlangt eine andere Art der Anmeldung. Melden Sie sich ab, und dann so an, wie sie es verlangt.',
    },
  },
  private_service: noAccess,
  auth_method_unsupported: noAccess,
  login_denied: noAccess,
  unknown_host: notFound,
  no_route: notFound,
  not_found: notFound,
  method_not_allowed: {
    status: 405,
    title: { en: 'Method not allowed', de: 'Methode nicht erlaubt' },
    text: { en: 'This kind of request is not accepted here.', de: 'Anfragen dieser Art werden hier nicht angenommen.' },
  },
  host_mismatch: {
    status: 421,
    title: { en: 'Misdirected request', de: 'Fehlgeleitete Anfrage' },
    text: {
      en: 'This connection was opened for another host. Try again.',
      de: 'Diese Verbindung wurde für einen anderen Host geöffnet. Versuchen Sie es noch einmal.',
    },
  },
  internal_error: {
    status: 500,
    title: { en: 'Internal error', de: 'Interner Fehler' },
    text: { en: 'Something went wrong here. Try again later.', de: 'Hier ist etwas schiefgegangen. Versuchen Sie es später noch einmal.' },
  },
  upstream_refused: unreachable,
  upstream_unreachable: unreachable,
  upstream_bad_answer: unreachable,
  upstream_closed: unreachable,
  upstream_tls: unreachable,
  upstream_untrusted: unreachable,
  upstream_wrong_name: unreachable,
  upstream_expired: unreachable,
  upstream_protocol: unreachable,
  auth_unavailable: {
    status: 503,
    title: { en: 'Sign-in is not available', de: 'Anmeldung nicht verfügbar' },
    text: {
      en: 'It cannot be checked right now who you are. Try again in a moment.',
      de: 'Es lässt sich gerade nicht prüfen, wer Sie sind. Versuchen Sie es gleich noch einmal.',
    },
  },
  upstream_busy: busy,
  service_busy: busy,
  body_too_large: {
    status: 413,
    title: { en: 'Too large', de: 'Zu groß' },
    text: { en: 'What was sent is larger than this service takes.', de: 'Was gesendet wurde, ist größer, als dieser Dienst annimmt.' },
  },
  draining: busy,
  upstream_timeout: {
    status: 504,
    title: { en: 'No answer', de: 'Keine Antwort' },
    text: { en: 'The service did not answer in time.', de: 'Der Dienst hat nicht rechtzeitig geantwortet.' },
  },
  loop: {
    status: 508,
    title: { en: 'Loop detected', de: 'Schleife erkannt' },
    text: { en: 'The request came back to where it had been.', de: 'Die Anfrage kam dorthin zurück, wo sie schon war.' },
  },
};

export function publicReason(reason: OwnReason): PublicReason {
  return publicReasons[reason];
}

/** The status that a reason ends in. */
export function reasonStatus(reason: OwnReason): number {
  return publicReasons[reason].status;
}

/** The part of a reason that strangers may know: what failed behind us is one thing to them. */
export function publicWord(reason: OwnReason): string {
  return reason.startsWith('upstream_') && reason !== 'upstream_timeout' ? 'upstream_failed' : reason;
}
