import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/build-once.ts', 'test/support/postgres.ts'],
    maxWorkers: 3, // of two cores: most end-to-end tests wait more than they compute
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
})
