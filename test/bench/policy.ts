/** The policy of the defaults, for what is simulated: without networks, since its addresses are neighbours. */
import { toPolicySettings } from '../../src/config/load.js';
import { defaultConfig } from '../../src/config/schema.js';
import { Allowlist } from '../../src/policy/allowlist.js';
import { Policy } from '../../src/policy/policy.js';

export const policy = new Policy(
  { ...toPolicySettings(defaultConfig()), networks: 0, dryRun: false },
  new Allowlist({ addresses: [], hostnames: [] }),
);
