import { beforeEach, expect, it } from 'vitest';
import { watchedStore } from '../../src/daemon/watched-store.js';
import { UnavailableError } from '../../src/domain/errors.js';
import { MemoryStore } from '../../src/store/memory.js';
import type { Outcome } from '../../src/store/store.js';

/** As a store on a full disk: what is there can be read. */
class FullStore extends MemoryStore {
  full = true;
  override async commit(...args: Parameters<MemoryStore['commit']>): Promise<Outcome> {
    if (this.full) throw new UnavailableError('the disk is full');
    return super.commit(...args);
  }
}

let told: string[] = [];
beforeEach(() => {
  told = [];
});
const watcher = {
  storeAnswered: () => told.push('answered'),
  storeFailed: (reason: string) => told.push(reason),
};

it('a store that can be read and not be written fails until it can be written', async () => {
  const inner = new FullStore();
  const store = watchedStore(inner, watcher);
  await store.counts(0);
  expect(told).toEqual(['answered']);
  await expect(store.commit([], () => ({}))).rejects.toThrow('the disk is full');
  await store.counts(0);
  await store.bans(0);
  expect(told).toEqual(['answered', 'the disk is full']);
  inner.full = false;
  await store.commit([], () => ({}));
  await store.counts(0);
  expect(told).toEqual(['answered', 'the disk is full', 'answered', 'answered']);
});

it('an error that is none of the store is not told as one', async () => {
  const store = watchedStore(new MemoryStore(), watcher);
  await expect(
    store.commit([], () => {
      throw new Error('a mistake of ours');
    }),
  ).rejects.toThrow('a mistake of ours');
  expect(told).toEqual([]);
});
