// Prints the test run's own closing line, `N passed, N failed`, from the runner's JSON report, and exits 1 unless the
// tests and the linters all succeeded. Called by .ci/run: closing-line.mjs REPORT TEST_STATUS LINTER_STATUS...
import { readFileSync } from 'node:fs';

const [file, tests, ...linters] = process.argv.slice(2);
const { passed, failed, skipped } = counts(readReport());
const lintersFailed = linters.filter((status) => status !== '0').length;

if (lintersFailed > 0) console.log(`${lintersFailed} of ${linters.length} linters found something, see above`);
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
process.exitCode = failed === 0 && lintersFailed === 0 ? 0 : 1;

/** A file that could not even be loaded has no tests, but it failed; so did a run that ended badly or left no report. */
function counts(report) {
  const passed = report?.numPassedTests ?? 0;
  const unloaded = (report?.testResults ?? []).filter(
    ({ status, assertionResults }) => status === 'failed' && assertionResults.length === 0,
  ).length;
  const named = (report?.numFailedTests ?? 0) + unloaded;
  const bad = tests !== '0' || passed + named === 0;
  if (bad && named === 0) console.log(`the test run ended with status ${tests}, see above`);
  return {
    passed,
    failed: bad ? Math.max(named, 1) : named,
    skipped: (report?.numPendingTests ?? 0) + (report?.numTodoTests ?? 0),
  };
}

function readReport() {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return null;
  }
}
