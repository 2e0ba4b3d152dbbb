/** Passwords never reach a log, an answer, or an error. */

/** The URL of a store, or what was meant to be one, safe to print. */
export function maskPassword(url: string): string {
  return url
    .replace(/^((?:[a-z]+:\/+|(?![a-z]+:\/))[^:@]*):.*@/i, '$1:***@')
    .replace(/(password=)[^&\s"']*/gi, '$1***');
}

/** The same for URLs that stand somewhere in a text. */
export function maskPasswordsIn(text: string): string {
  return text
    .replace(/(\/\/[^:@\s"']*:)[^\s"']*@/g, '$1***@')
    .replace(/(password=)[^&\s"']*/gi, '$1***')
    .replace(/(webhook["']?\s*=\s*["']{0,3})([^\s"']+)/gi, (_, before, url) => before + maskWebhook(url));
}

/** A webhook's URL, or what was meant to be one, safe to print: all that makes it one's own stands around the host. */
export function maskWebhook(text: string): string {
  if (!/^(?:https?|ftp):/i.test(text) || !URL.canParse(text)) return '***';
  const { protocol, host } = new URL(text);
  return `${protocol}//${host}/***`;
}

/** The URL of a list, safe to print: a key for it stands in its query. */
export function maskQuery(url: string): string {
  return maskPassword(url).replace(/\?.*$/, '?***');
}
