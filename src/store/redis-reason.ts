/** Why Redis, or the way to it, said no: in the words of a person who can do something about it. */
import { reasonOf } from '../domain/errors.js';

/** Did Redis itself answer with an error? Then the commit was not applied, and asking again at once is no use. */
export function isReply(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError';
}

export function redisReason(error: unknown): string {
  const message = reasonOf(error);
  if (/^NOAUTH/.test(message))
    return 'it wants a password: put it into a file that only blockd can read, and name that in store.password_file';
  if (/^WRONGPASS|invalid password/i.test(message)) return 'wrong user name or password';
  if (FORBIDDEN.test(message)) return `the Redis user lacks a permission (${message})`;
  if (/\bOOM\b/.test(message)) return 'Redis is out of memory (maxmemory)';
  if (/\bREADONLY\b/.test(message)) return 'this Redis is a read-only replica: name the primary, or use sentinel://';
  if (/\bNOREPLICAS\b/.test(message))
    return 'Redis takes no writes while too few replicas follow it (min-replicas-to-write)';
  if (/^LOADING/.test(message)) return 'Redis is still loading its data';
  if (/\bMISCONF\b/.test(message)) return "Redis can't write its data to disk, and so refuses changes";
  if (UNTRUSTED.test(message))
    return `its certificate is not trusted (${message}): name the CA that signed it in store.ca_file`;
  if (/altnames|certificate has expired|not yet valid/i.test(message)) return `its certificate is refused: ${message}`;
  if (/ECONNREFUSED/.test(message)) return 'connection refused: does Redis run there?';
  if (/ENOTFOUND|EAI_AGAIN/.test(message)) return 'the host name has no address';
  if (/EACCES|permission denied/.test(message)) return `permission denied: ${message}`;
  if (/ENOENT|no such file/.test(message)) return 'there is no such socket';
  if (UNKNOWN.test(message))
    return `this Redis is too old, or lacks a command (${message}): it must be Redis 5 or newer`;
  if (/ETIMEDOUT|timed? ?out|no answer/i.test(message)) return 'no answer';
  if (/Protocol error|Unknown RESP type/i.test(message)) return 'what answers there is no Redis';
  if (LOST.test(message)) return 'the connection is lost';
  return message;
}

/** A permission that the user lacks, as Redis says it to a client, and to a script. */
export const FORBIDDEN = /\bNOPERM\b|user executing the script can't/;
const UNTRUSTED =
  /self.signed certificate|unable to (?:verify|get) (?:the first|local issuer|issuer)|certificate signature failure/i;
export const UNKNOWN = /unknown.*command/i;
/** How ioredis says that a command never left, or will get no answer. */
export const LOST = /isn't writeable|Connection is closed|max retries/i;
