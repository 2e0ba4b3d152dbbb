/**
 * States as the JSON that an embedded store holds. Of a state that one more line has changed most is as it was: those
 * texts are kept beside it, and the rest is put together in a third of the time of JSON.stringify.
 */
import type { SubjectState } from '../policy/state.js';

export interface Stored {
  readonly state: SubjectState;
  readonly rank: number | null;
}

/** With the texts of what changes seldom; absent from what was read, or is of another shape than usual. */
export interface Remembered extends Stored {
  readonly texts?: Texts;
}

interface Texts {
  readonly strikes: string;
  readonly accepted: string;
  readonly ban: string;
  readonly releases: string;
}

/** What JSON.stringify makes of `state` and `rank`, and what to remember; `before` is what the state came from. */
export function textOf({ state, rank }: Stored, before: Remembered | null): { text: string; stored: Remembered } {
  const { score, offenses, host, authenticatedAt } = state;
  if (!isUsual(state)) return { text: JSON.stringify({ state, rank }), stored: { state, rank } };
  const texts = textsOf(state, before);
  const { strikes, accepted, ban, releases } = texts;
  const text =
    `{"state":{"score":{"value":${score.value},"at":${score.at}},"strikes":${strikes},"accepted":${accepted},` +
    `"offenses":${offenses},"host":${JSON.stringify(host)},"authenticatedAt":${authenticatedAt},"ban":${ban},` +
    `"releases":${releases}},"rank":${rank}}`;
  return { text, stored: { state, rank, texts } };
}

function textsOf(state: SubjectState, before: Remembered | null): Texts {
  const [was, texts] = [before?.state, before?.texts];
  const text = <Key extends keyof Texts>(key: Key) =>
    texts !== undefined && was?.[key] === state[key] ? texts[key] : JSON.stringify(state[key]);
  return { strikes: text('strikes'), accepted: text('accepted'), ban: text('ban'), releases: text('releases') };
}

const USUAL_KEYS = 8;

/** A subject of its own, not a network with members; and no number that JSON has not. */
function isUsual(state: SubjectState): boolean {
  const { score, strikes, accepted, offenses, host, authenticatedAt, ban, releases } = state;
  return (
    Object.keys(state).length === USUAL_KEYS &&
    Number.isFinite(score.value + score.at + offenses) &&
    (authenticatedAt === null || Number.isFinite(authenticatedAt)) &&
    [strikes, accepted, host, ban, releases].every((one) => one !== undefined)
  );
}
