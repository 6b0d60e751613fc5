import { defineConfig } from 'vitest/config'

/** Folders whose files share a process, so that modules are loaded once and not for each of them. */
const SHARING = [
  'auth',
  'cli',
  'config',
  'conformance',
  'core',
  'dashboard',
  'docs',
  'e2e',
  'http',
  'protocol',
  'store',
  'sync',
  'transport',
]

/**
 * Files in them that look at the process, at its heap, at what it has loaded, at every error in it; and those that
 * run `start`, which bounds the heap of the process.
 */
const KEPT_ALONE = [
  'test/cli/commands/{check,database-url,foreign-database,start,unreadable-config}.test.ts',
  'test/core/record/richtext.test.ts',
  'test/http/raw-requests.test.ts',
  'test/http/read-body.test.ts',
  'test/http/session-bodies.test.ts',
  'test/store/materialize/readable-richtext.test.ts',
  'test/store/sqlite/scope-cache.test.ts',
]

const shared = `test/@(${SHARING.join('|')})/**/*.test.ts`
const others = [`test/!(${SHARING.join('|')})/**/*.test.ts`, 'test/*.test.ts', ...KEPT_ALONE]

const timeouts = { testTimeout: 30_000, hookTimeout: 60_000 }

export default defineConfig({
  test: {
    globalSetup: ['test/support/build-once.ts', 'test/support/postgres.ts'],
    maxWorkers: 4, // of two cores: most end-to-end tests wait more than they compute
    projects: [
      {
        test: {
          ...timeouts,
          name: 'sharing',
          include: [shared],
          exclude: KEPT_ALONE,
          isolate: false,
          restoreMocks: true, // or a test would spy on those of the next file
          unstubEnvs: true,
        },
      },
      { test: { ...timeouts, name: 'alone', include: others } },
    ],
  },
})
