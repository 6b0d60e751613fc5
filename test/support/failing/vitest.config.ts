import { defineConfig } from 'vitest/config'
import config from '../../../vitest.config.ts'

const { projects: _all, ...shared } = config.test ?? {}

/** What `npm test` runs in, with nothing but a test that fails. */
export default defineConfig({ test: { ...shared, include: ['test/support/failing/failing.ts'] } })
