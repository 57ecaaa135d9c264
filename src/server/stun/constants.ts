// Limits of the STUN server.

/** Answers that wait in the socket. Beyond it requests are not answered: whoever asks will ask again. */
export const MAX_QUEUED_ANSWERS = 1024;
/** Answers per second and in a burst, over all senders: the server is no use for flooding a third party with a forged source. */
export const ANSWERS_PER_SECOND = 20_000;
