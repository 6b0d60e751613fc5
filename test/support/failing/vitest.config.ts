import { defineConfig } from 'vitest/config'
import config from '../../../vitest.config.ts'

/** What `npm test` runs in, with nothing but a test that fails. */
export default defineConfig({ test: { ...config.test, include: ['test/support/failing/failing.ts'] } })
