// The service's access rules, as far as they decide without knowing who it is. A service that asks for no proof is open to everybody who came this far.
import { allow, deny, type Check } from '../check.ts';
import { judgeRequest } from '../rules/admit.ts';

export const rulesAllow: Check = (input) => {
  const { policy } = input.subject.service ?? {};
  if (policy === undefined) return deny('internal_error', 'no service');
  const judged = judgeRequest(input, undefined);
  switch (judged.kind) {
    case 'deny':
      return { ...deny('rule_denied', judged.detail), rule: judged.rule };
    case 'ask':
      return undefined;
    case 'allow':
      return { ...allow(judged.rule === undefined ? 'public_service' : 'bypass', undefined), rule: judged.rule };
  }
};
