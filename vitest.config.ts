import { defineConfig } from 'vitest/config'

/**
 * Files that share a process, so that modules are loaded once and not for each of them: half of the time of
 * these. `richtext` is none of them because it looks at what has been loaded.
 */
const SHARING = 'test/{auth,config,core,dashboard,cli/output,protocol,sync}/**/!(richtext).test.ts'

const timeouts = { testTimeout: 30_000, hookTimeout: 60_000 }

export default defineConfig({
  test: {
    globalSetup: ['test/support/build-once.ts', 'test/support/postgres.ts'],
    maxWorkers: 3, // of two cores: most end-to-end tests wait more than they compute
    projects: [
      { test: { ...timeouts, name: 'sharing', include: [SHARING], isolate: false } },
      { test: { ...timeouts, name: 'alone', include: ['test/**/*.test.ts'], exclude: [SHARING] } },
    ],
  },
})
