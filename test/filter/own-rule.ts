import { loadRules, packagedFilters } from '../../src/filter/load.js';
import type { Rule } from '../../src/filter/rule.js';

/** A rule of the admin's own for smtpd, as from a rule file, but judged by nobody: it is read by its expression. */
export function ownRule(name: string, pattern: string): Rule {
  const [packaged] = loadRules(packagedFilters(), null, 'own');
  if (packaged === undefined) throw new Error('no rule');
  return {
    ...packaged,
    name,
    pattern,
    program: ['postfix/smtpd'],
    kind: 'offense',
    points: 3,
    echo: false,
    closes: false,
    packaged: false,
  };
}
