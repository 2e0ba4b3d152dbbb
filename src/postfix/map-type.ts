/**
 * Is the map's type one that this Postfix has, and will have? Berkeley DB (hash, btree) is going: RHEL 10 and Alpine build
 * Postfix without it, Gentoo has lmdb as the default since 3.11, Debian 13 (Postfix 3.10) still has it. Since 3.11
 * `postfix non-bdb` can redirect hash to lmdb: NON_BERKELEYDB_README.
 */
import { type Finding, fail, ok, warn } from './finding.js';
import { INDEXED_TYPES } from './map-files.js';
import type { Settings } from './settings.js';
import { isAtLeast } from './settings.js';

const BERKELEY = ['hash', 'btree'];

export function typeFindings(type: string, settings: Settings): Finding[] {
  const { mapTypes, version, values } = settings;
  if (!mapTypes.includes(type)) {
    return [
      fail(
        'type',
        `this Postfix (${version}) has no maps of type ${type}`,
        `Choose one that it has (${writable(mapTypes).join(', ') || 'none that blockd can write'}) as postfix.map; "blockctl setup" does the rest.`,
      ),
    ];
  }
  if (!mapTypes.includes('cidr')) {
    return [fail('type', 'this Postfix has no cidr maps, which IPv6 needs', 'Install a complete Postfix.')];
  }
  const redirected = values.get('non_bdb_migration_level') ?? 'disable';
  if (BERKELEY.includes(type) && isAtLeast(version, 3, 11) && redirected !== 'disable') {
    return [
      fail(
        'type',
        `Postfix redirects ${type} to another type (non_bdb_migration_level = ${redirected}), and blockd writes ${type}`,
        'Set postfix.map to lmdb:PATH, and run "blockctl setup".',
      ),
    ];
  }
  const usual = values.get('default_database_type') ?? '';
  if (BERKELEY.includes(type) && (isAtLeast(version, 3, 11) || !BERKELEY.includes(usual))) {
    return [
      warn(
        'type',
        `${type} needs Berkeley DB, which distributions are dropping (RHEL 10 has); the next update of this system may end it`,
        `In time: set postfix.map to ${writable(mapTypes)[0] ?? 'lmdb'}:PATH, run "blockctl setup", then restart blockd.`,
      ),
    ];
  }
  return [ok('type', `${type} maps are at home in this Postfix (${version})`)];
}

/** The best type for a new map: Postfix's own default if blockd can write it, else the best of what is there. */
export function chooseType({ mapTypes, values, version }: Settings): string | null {
  const choice = writable(mapTypes);
  const usual = values.get('default_database_type') ?? '';
  const going = BERKELEY.includes(usual) && isAtLeast(version, 3, 11);
  return choice.includes(usual) && !going ? usual : (choice[0] ?? null);
}

/** Types that blockd can write, those with a future first. */
function writable(mapTypes: readonly string[]): string[] {
  return ['lmdb', 'cdb', 'hash', 'btree'].filter((type) => INDEXED_TYPES.includes(type) && mapTypes.includes(type));
}
