/** Is postscreen there, does it ask the table that blockd keeps for it, and does it act on what it finds? */
import { type Finding, ok, warn } from './finding.js';
import { isAtLeast, type Settings } from './settings.js';

export function postscreenTable({ values, services, version }: Settings, path: string | undefined): Finding[] {
  if (path === undefined) return [];
  const table = `cidr:${path}`;
  if (!services.some(({ command }) => command === 'postscreen')) {
    const fix = 'Put postscreen before smtpd in master.cf (POSTSCREEN_README), or take the key out.';
    return [warn('postscreen', 'postfix.postscreen_map is set, and master.cf has no postscreen', fix)];
  }
  const asked = values.get('postscreen_access_list') ?? '';
  if (!asked.split(/[\s,]+/).includes(table)) {
    const fix = `postconf -e "postscreen_access_list = ${asked === '' ? '' : `${asked}, `}${table}" && postfix reload`;
    return [warn('postscreen', `postscreen_access_list does not name ${table}: postscreen refuses nobody for it`, fix)];
  }
  // Renamed in Postfix 3.6.
  const name = isAtLeast(version, 3, 6) ? 'postscreen_denylist_action' : 'postscreen_blacklist_action';
  const action = (values.get(name) ?? '').toLowerCase();
  if (action !== 'enforce' && action !== 'drop') {
    const fix = `postconf -e ${name}=enforce && postfix reload`;
    return [warn('postscreen', `${name} = ${action}: postscreen only logs whom ${table} names`, fix)];
  }
  return [ok('postscreen', `postscreen asks ${table}, ${name} = ${action}`)];
}
