import { writeFileSync } from 'node:fs'
import type { KoraConfig, StoreInput } from '../../src/config/define-config.ts'
import { benchSchema } from '../workload/schema.ts'
import { TOKEN_SECRET } from '../workload/token.ts'

export interface KoraConfigOptions {
  readonly store: StoreInput
  /** `scoped`: who has a token sees the records of its user, and nobody else comes in. */
  readonly access: 'open' | 'scoped'
}

/**
 * The configuration with which ours runs: an operator's, with every default but one. Without a limit on the
 * rate of a client, because otherwise a writer would be measured that waits.
 */
export function koraConfig({ store, access }: KoraConfigOptions): KoraConfig {
  return {
    host: '127.0.0.1',
    port: 0,
    store,
    schema: benchSchema,
    limits: { maxOpsPerMinute: 0 },
    auth:
      access === 'open'
        ? { mode: 'none' }
        : { mode: 'jwt', jwt: { secret: TOKEN_SECRET }, scopes: { todos: { userId: '$claims.sub' } } },
  }
}

/** @param file ends in `.json`, or in `.ts`, which the server has to compile, with what it imports */
export function writeKoraConfig(file: string, options: KoraConfigOptions): void {
  const json = JSON.stringify(koraConfig(options))
  const isScript = file.endsWith('.ts')
  writeFileSync(
    file,
    isScript ? `import { defineConfig } from 'kora-server'\n\nexport default defineConfig(${json})\n` : json,
  )
}
