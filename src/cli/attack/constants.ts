// Limits of `meshgate attack`: it is to find out, not to weigh on anybody.

/** Before each request or connection, milliseconds: 25 a second at most. */
export const paceMs = 40;
/** For a connection, and for an answer to begin, milliseconds. */
export const answerMs = 5_000;
/** After an answer, for its end or the next one, milliseconds. */
export const settleMs = 400;
/** Of one connection so much is kept, characters. */
export const maxAttackAnswer = 64 * 1024;
/** Problems that a row tells; the rest is counted. */
export const maxProblems = 5;
