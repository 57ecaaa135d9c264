// What can go wrong at an agent, apart from what its mesh node reports.
import { defineErrors } from '#lib/errors.ts';

export const agentError = defineErrors('agent', {
  AGENT_CONTROL_INSECURE: {
    text: 'control.url is not https: the setup key and everything that the control plane says would travel in the clear. Use https, or set control.allowInsecure.',
    origin: 'input',
    retry: false,
    status: 500,
  },
  AGENT_SETUP_KEY_UNREADABLE: {
    text: 'The setup key file cannot be read. Create a key with `meshgate setup-key create`, write it to the file, and make it readable for this user.',
    origin: 'input',
    retry: false,
    status: 500,
  },
  AGENT_CA_UNREADABLE: {
    text: 'The CA file of the control plane cannot be read. Check control.caFile.',
    origin: 'input',
    retry: false,
    status: 500,
  },
  AGENT_EXPOSE_LIMIT: {
    text: 'This agent has as many services published as it may. Stop one first.',
    origin: 'input',
    retry: false,
    status: 429,
  },
  AGENT_EXPOSE_UNKNOWN: { text: 'Nothing that is published from here has this name.', origin: 'input', retry: false, status: 404 },
  AGENT_DOCKER: { text: 'Docker did not answer as its API is documented.', origin: 'peer', retry: true, status: 502 },
  AGENT_NOT_JOINED: { text: 'This peer is not in the network yet.', origin: 'peer', retry: true, status: 503 },
  AGENT_PORT_CLOSED: { text: 'Nothing is forwarded from this port.', origin: 'input', retry: false, status: 404 },
  AGENT_REQUEST_INVALID: { text: 'The request to the agent is not valid.', origin: 'input', retry: false, status: 400 },
  AGENT_NAME_UNANSWERED: {
    text: 'No name server of this host answered for a routed name. Check the name servers of the host.',
    origin: 'peer',
    retry: true,
    status: 504,
  },
});
