/** Is the daemon at work, in which mode, with which store? */
import { maskPassword } from '../domain/secret.js';
import { type Finding, fail, ok, warn } from '../postfix/finding.js';
import { HEARTBEAT_MS } from '../store/daemon-note.js';
import type { Desk } from './desk.js';
import { relative } from './format.js';

export async function storeFindings({ missing, store, config }: Desk): Promise<Finding[]> {
  if (!missing) {
    const risks = (await store.risks()).map(({ text, fix }) => warn('store', `${store.url}: ${text}`, fix));
    return risks.length > 0 ? risks : [ok('store', `${store.url} answers`)];
  }
  return [
    warn(
      'store',
      `there is no store at ${maskPassword(config.store.url)} yet`,
      'blockd makes it when it first runs; or name the right one as store.url.',
    ),
  ];
}

/** `version` is this program's own. */
export function daemonFindings({ note, running, now, config }: Desk, version: string): Finding[] {
  const start = 'Start it: "systemctl start blockd"; "journalctl -u blockd" tells why it ended.';
  if (note === null) {
    return [
      fail(
        'daemon',
        `blockd has not run on this host (${config.store.host}) with this store`,
        'Start it: "systemctl start blockd".',
      ),
    ];
  }
  if (!running) {
    const since = note.stoppedAt === null ? note.heartbeatAt : note.stoppedAt;
    const how = note.stoppedAt === null ? 'died without a word, last seen' : 'was stopped';
    return [fail('daemon', `blockd ${how} ${relative(since, now)}: no new bans are made`, start)];
  }
  const findings: Finding[] = [];
  if (now - note.heartbeatAt > 3 * HEARTBEAT_MS) {
    findings.push(
      warn(
        'daemon',
        `blockd was last heard of ${relative(note.heartbeatAt, now)}: it hangs, or waits for its store`,
        '"journalctl -u blockd" tells.',
      ),
    );
  }
  if (note.version !== version) {
    findings.push(
      warn(
        'daemon',
        `blockd runs as version ${note.version}, blockctl is ${version}`,
        'Restart it: "systemctl restart blockd".',
      ),
    );
  }
  return findings.length > 0 ? findings : [ok('daemon', `blockd ${note.version} runs, process ${note.pid}`)];
}

export function modeFindings({ mode, configuredMode }: Desk): Finding[] {
  if (configuredMode !== mode) {
    return [
      warn(
        'mode',
        `blockd runs in ${mode}, the config says ${configuredMode}`,
        'Reload it: "systemctl reload blockd".',
      ),
    ];
  }
  if (mode === 'enforce') return [ok('mode', 'enforce: banned clients are refused')];
  const what =
    mode === 'shadow' ? 'Postfix only logs whom it would refuse' : 'nobody is refused, bans are only recorded';
  return [
    warn(
      'mode',
      `${mode}: ${what}`,
      'When "blockctl report --since 7d" shows nobody whom you need, set mode = "enforce" and restart blockd.',
    ),
  ];
}
