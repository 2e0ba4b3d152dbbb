/**
 * Commits to a store as fast as it can, printing the number of each commit that returned: made to be killed.
 * `committer.mjs URL COMMITS [thread]`
 */
const { openStore } = await import(new URL('../../dist/store/open.js', import.meta.url));
const [url, commits, thread] = process.argv.slice(2);
const store = await openStore(url, { prefix: 'test', ownThread: thread === 'thread' });

const [known] = [...(await store.progress('mx1')).values()];
let after = known?.commit ?? null;
for (let i = 0; i < Number(commits); i++) {
  const commit = String(Number(after ?? 0) + 1);
  await store.commit(['203.0.113.1'], (states) => ({
    put: new Map([
      [
        '203.0.113.1',
        {
          score: { value: 1, at: 0 },
          strikes: { value: 0, at: 0 },
          accepted: { value: 0, at: 0 },
          offenses: (states.get('203.0.113.1')?.offenses ?? 0) + 1,
          host: null,
          authenticatedAt: null,
          ban: null,
          releases: [],
        },
      ],
    ]),
    changes: [{ type: 'allow', at: Number(commit), entry: '192.0.2.1' }],
    progress: [
      {
        host: 'mx1',
        log: '/var/log/mail.log',
        position: { kind: 'journal', cursor: commit },
        carry: 'x'.repeat(5_000),
        commit,
        after,
        lastLineAt: null,
      },
    ],
  }));
  after = commit;
  process.stdout.write(`${commit}\n`);
}
await store.close();
