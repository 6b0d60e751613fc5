import { afterEach, expect, test, vi } from 'vitest'
import { processTerminal } from '../../src/cli/terminal.ts'

afterEach(() => void vi.unstubAllEnvs())

test('the environment is what the user has set, whatever is added to it later', () => {
  vi.stubEnv('KORA_TEST_USER', 'ada')
  const { env } = processTerminal()
  vi.stubEnv('KORA_TEST_DOTENV', 'canary')

  expect(env.KORA_TEST_USER).toBe('ada')
  expect(env).not.toHaveProperty('KORA_TEST_DOTENV')
})
