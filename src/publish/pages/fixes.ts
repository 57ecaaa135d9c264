// What to do about each reason: for administrators, who may read names of commands and of settings.
import type { Text } from './language.ts';
import type { OwnReason } from './reasons.ts';

const check = {
  target: {
    en: 'Look at the target on its machine: does the program run, and does it listen on that address and port? Then `meshgate peer show` of its agent.',
    de: 'Sehen Sie auf der Maschine des Ziels nach: Läuft das Programm, und hört es auf dieser Adresse und diesem Port? Danach `meshgate peer show` seines Agenten.',
  },
  signIn: {
    en: 'The visitor has to sign in; a program needs a token of a service user (`meshgate token create`).',
    de: 'Der Besucher muss sich anmelden; ein Programm braucht das Token eines Dienstkontos (`meshgate token create`).',
  },
  policy: {
    en: 'The access policy of the service says so. `meshgate service show` tells it, the log names the rule.',
    de: 'So verlangt es die Zugangsregel des Dienstes. `meshgate service show` nennt sie, das Protokoll die einzelne Regel.',
  },
  certificate: {
    en: 'Give the target a certificate that its `tls.ca` or the system trusts and that names it, or set `tls.server_name`.',
    de: 'Geben Sie dem Ziel ein Zertifikat, dem sein `tls.ca` oder das System vertraut und das seinen Namen trägt, oder setzen Sie `tls.server_name`.',
  },
  load: {
    en: 'The limit of requests at once is reached (`web.limits.max_concurrent`, or the gateway is stopping). Look at `/metrics`.',
    de: 'Die Grenze gleichzeitiger Anfragen ist erreicht (`web.limits.max_concurrent`), oder das Gateway hält gerade an. Sehen Sie in `/metrics` nach.',
  },
} as const satisfies Readonly<Record<string, Text>>;

/** Undefined where there is nothing to mend: the request itself was wrong. */
export function fixOf(reason: OwnReason): Text | undefined {
  switch (reason) {
    case 'signed_out':
    case 'bad_request':
    case 'too_many_attempts':
    case 'form_foreign':
    case 'login_invalid':
    case 'body_too_large':
    case 'not_found':
      return undefined;
    case 'host_mismatch':
      return {
        en: 'The certificate of another service covers this host, and the browser used its connection. It should try again by itself; else give each service a certificate of its own.',
        de: 'Das Zertifikat eines anderen Dienstes gilt auch für diesen Host, und der Browser nahm dessen Verbindung. Er sollte es von selbst noch einmal versuchen; sonst geben Sie jedem Dienst ein eigenes Zertifikat.',
      };
    case 'not_signed_in':
    case 'session_expired':
    case 'session_revoked':
    case 'token_invalid':
    case 'credential_invalid':
      return check.signIn;
    case 'ip_denied':
    case 'country_denied':
    case 'crowdsec_denied':
    case 'rule_denied':
    case 'rate_limited':
    case 'group_not_allowed':
    case 'issuer_not_allowed':
    case 'login_denied':
    case 'private_service':
      return check.policy;
    case 'restriction_unsupported':
    case 'country_unknown':
    case 'crowdsec_unavailable':
    case 'auth_method_unsupported':
      return {
        en: 'The policy asks for what this gateway cannot check, so it lets nobody in. `meshgate service list` says what; give the gateway what it lacks, or change the policy.',
        de: 'Die Zugangsregel verlangt, was dieses Gateway nicht prüfen kann; darum lässt es niemanden ein. `meshgate service list` nennt es; geben Sie dem Gateway, was fehlt, oder ändern Sie die Regel.',
      };
    case 'auth_unavailable':
      return {
        en: 'The gateway cannot ask the control plane who this is. Look at `meshgate status` on the gateway, and whether the server runs.',
        de: 'Das Gateway kann die Steuerung nicht fragen, wer das ist. Sehen Sie `meshgate status` auf dem Gateway an, und ob der Server läuft.',
      };
    case 'unknown_host':
    case 'no_route':
    case 'method_not_allowed':
      return {
        en: 'No enabled service has this host and path for this method. `meshgate service list` tells what there is.',
        de: 'Kein eingeschalteter Dienst hat diesen Host und Pfad für diese Methode. `meshgate service list` zeigt, was es gibt.',
      };
    case 'internal_error':
      return {
        en: 'This is a defect of the gateway: its log has more under the id of this page.',
        de: 'Das ist ein Fehler des Gateways: Sein Protokoll sagt unter der Nummer dieser Seite mehr.',
      };
    case 'service_busy':
    case 'upstream_busy':
    case 'draining':
      return check.load;
    case 'loop':
      return {
        en: 'The target of the service leads back to the gateway. Set it to the address inside the network.',
        de: 'Das Ziel des Dienstes führt zum Gateway zurück. Setzen Sie es auf die Adresse im inneren Netz.',
      };
    case 'upstream_unreachable':
      return {
        en: 'No path leads to the target: is its agent running and connected (`meshgate peer list`), and does a policy let the gateway reach it?',
        de: 'Kein Weg führt zum Ziel: Läuft sein Agent und ist er verbunden (`meshgate peer list`), und lässt eine Regel das Gateway zu ihm?',
      };
    case 'upstream_refused':
    case 'upstream_closed':
      return check.target;
    case 'upstream_timeout':
      return {
        en: 'The target takes too long, or packets to it are lost. Look at the program and at the path (`meshgate peer show`); `request_timeout` of the target sets the limit.',
        de: 'Das Ziel braucht zu lange, oder Pakete zu ihm gehen verloren. Sehen Sie nach dem Programm und dem Weg (`meshgate peer show`); `request_timeout` des Ziels setzt die Grenze.',
      };
    case 'upstream_bad_answer':
    case 'upstream_protocol':
      return {
        en: 'What listens there does not speak the HTTP that is set for the target. Check `protocol` and `http_version` of the target, and its port.',
        de: 'Was dort hört, spricht nicht das HTTP, das für das Ziel gesetzt ist. Prüfen Sie `protocol` und `http_version` des Ziels und seinen Port.',
      };
    case 'upstream_tls':
    case 'upstream_untrusted':
    case 'upstream_wrong_name':
    case 'upstream_expired':
      return check.certificate;
  }
}
