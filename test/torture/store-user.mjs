/** Reads and writes all over a store, as blockd does: made to be ended by a damaged one, should there be a way. */
const { openStore } = await import(new URL('../../dist/store/open.js', import.meta.url));
const [url] = process.argv.slice(2);
const store = await openStore(url, { prefix: 'test' });
const subjects = await store.top(1_000_000);
await store.states(subjects);
await store.bans(0);
await store.history(10_000);
for (const subject of subjects.slice(0, 500)) await store.evidence(subject);
for (let round = 0; round < 3; round++) {
  const put = new Map();
  for (let i = 0; i < 300; i++) {
    put.set(`198.51.${round}.${i}`, {
      score: { value: 5, at: 1 },
      strikes: { value: 0, at: 0 },
      accepted: { value: 0, at: 0 },
      offenses: 1,
      host: null,
      authenticatedAt: null,
      ban: null,
      releases: [],
    });
  }
  await store.commit([...put.keys()], () => ({ put, changes: [{ type: 'allow', at: 1, entry: '192.0.2.1' }] }));
}
await store.prune(() => false, 1, 1);
await store.close();
