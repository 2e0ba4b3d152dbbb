import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    // `npm run torture -- FILE` shall run that file alone, and no other part of the tests.
    include: [process.env['TORTURE'] === 'long' ? 'test/torture/*.test.ts' : 'test/**/*.test.ts'],
    setupFiles: ['test/support/bounded-programs.ts'],
    // Many tests start real servers; a loaded machine must not make them fail.
    testTimeout: 30_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 15_000 } },
    // They wait for servers more than they compute.
    maxWorkers: 3,
  },
});
