/** The report as JSON, a stable interface: keys may be added, none is renamed. */
import type { Report } from '../report/report.js';
import { iso, rounded } from './format.js';
import { readable } from './logtext.js';

export function reportJson(report: Report) {
  const { logs, lines, from, to, mail, settings, policy, shadow, unmatched } = report;
  const time = (at: number | null) => (at === null ? null : iso(at));
  return {
    logs,
    lines,
    from: time(from),
    to: time(to),
    mail,
    reasons: report.reasons,
    networks: report.networks,
    policy: {
      ...policy,
      settings,
      lengths: policy.lengths,
    },
    accepted: report.accepted,
    collateral: report.collateral.map(({ offenses, lost, ...row }) => ({
      ...row,
      offenses: offenses.map(readable),
      lost: lost.map(readable),
    })),
    offenders: report.offenders.map(({ curve, firstAt, lastUntil, strikes, lines: evidence, ...row }) => ({
      ...row,
      firstAt: time(firstAt),
      lastUntil: time(lastUntil),
      strikes: strikes === null ? null : rounded(strikes),
      offenses: curve.offenses.length,
      lines: evidence.map(readable),
    })),
    timeline: {
      stepMs: report.timeline.stepMs,
      buckets: report.timeline.buckets.map(({ at, ...bucket }) => ({ at: iso(at), ...bucket })),
    },
    shadow: {
      wouldRefuse: shadow.wouldRefuse,
      losses:
        shadow.losses === null
          ? null
          : shadow.losses.map(({ at, line, ...loss }) => ({ at: iso(at), ...loss, line: readable(line) })),
    },
    unmatched: {
      count: unmatched.count,
      shapes: unmatched.shapes.map(({ example, shape, ...rest }) => ({
        shape: readable(shape),
        ...rest,
        example: readable(example),
      })),
    },
  };
}
