/**
 * What fail2ban does with the same lines: its filter `postfix` in the modes of its documentation, with the values of
 * its jail.conf (version 1.0): five failures within ten minutes ban for ten minutes. A banned client is seen no more.
 */

export interface JailOptions {
  /** `default`: the jails [postfix] (mode "more") and [postfix-sasl]; `aggressive`: one jail with mode "aggressive". */
  readonly mode: 'default' | 'aggressive';
  /** `bantime.increment = true`: each further ban of a client lasts twice as long. */
  readonly increment: boolean;
}

const MAX_RETRY = 5;
const FIND_TIME_MS = 600_000;
const BAN_TIME_MS = 600_000;

/** Bans of each client, in order. */
export type Bans = ReadonlyMap<string, readonly { readonly from: number; readonly until: number }[]>;

export function fail2ban(lines: readonly { readonly at: number; readonly text: string }[], options: JailOptions): Bans {
  const bans = new Map<string, { from: number; until: number }[]>();
  const failures = new Map<string, number[]>();
  for (const { at, text } of lines) {
    const found = failureOf(text, options.mode);
    if (found === null) continue;
    const { ip, jail } = found;
    const own = bans.get(ip) ?? [];
    if ((own.at(-1)?.until ?? 0) > at) continue;
    const key = `${jail} ${ip}`;
    const recent = [...(failures.get(key) ?? []), at].filter((one) => one > at - FIND_TIME_MS);
    failures.set(key, recent);
    if (recent.length < MAX_RETRY) continue;
    failures.delete(key);
    own.push({ from: at, until: at + BAN_TIME_MS * (options.increment ? 2 ** Math.min(20, own.length) : 1) });
    bans.set(ip, own);
  }
  return bans;
}

function failureOf(text: string, mode: JailOptions['mode']): { readonly ip: string; readonly jail: string } | null {
  const [, message = ''] = /^\S+ \S+ postfix\/\S+?: (.*)$/.exec(text) ?? [];
  const ip = /\[([\da-f.:]+)\]/.exec(message)?.[1];
  if (ip === undefined) return null;
  if (/^\w+: reject: [A-Z]{4} from \S+: [45][50][04] /.test(message)) {
    const isMatched =
      /User unknown|Relay access denied|need fully-qualified hostname|Service unavailable|not found/.test(message);
    return isMatched ? { ip, jail: 'postfix' } : null;
  }
  if (/^(?:too many errors|improper command pipelining) after /.test(message)) return { ip, jail: 'postfix' };
  if (/^warning: \S+: SASL (?:LOGIN|PLAIN|(?:CRAM|DIGEST)-MD5) authentication failed/.test(message))
    return { ip, jail: mode === 'default' ? 'postfix-sasl' : 'postfix' };
  if (mode === 'default') return null;
  const isNuisance =
    /^(?:lost connection after (?!DATA)[A-Z]+ |disconnect from .* auth=0\/[1-9]|PREGREET |HANGUP )/.test(message);
  return isNuisance ? { ip, jail: 'postfix' } : null;
}
