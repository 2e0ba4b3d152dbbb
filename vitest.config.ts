import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    // Relative to `--dir`, by which `npm run torture` runs the long form of what breaks things, and nothing else.
    include: [process.env['TORTURE'] === 'long' ? '**/*.test.ts' : 'test/**/*.test.ts'],
    // Many tests start real servers; a loaded machine must not make them fail.
    testTimeout: 30_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
  },
});
