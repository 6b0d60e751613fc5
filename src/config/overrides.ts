import { isPostgresUrl } from '../core/postgres-url.ts'
import type { PlainObject } from '../core/schema/plain-object.ts'
import { isPlainObject } from '../core/schema/plain-object.ts'
import { OPTIONS } from './options.ts'
import type { ConfigProblem, Override } from './parse-options.ts'
import type { ConfigFlags } from './server-config.ts'

export interface OverrideSources {
  readonly flags: ConfigFlags
  readonly env: { readonly [name: string]: string | undefined }
  /** The variables in a `.env` beside the configuration. */
  readonly dotenv: { readonly [name: string]: string }
  /** Working directory of the command, to which paths in flags and environment are relative. */
  readonly cwd: string
  /** Folder of the configuration, to which paths in its `.env` are relative. */
  readonly configDir: string
}

export interface Overrides {
  readonly overrides: ReadonlyMap<string, Override>
  readonly voided: ReadonlySet<string>
  readonly problems: readonly ConfigProblem[]
}

/** The values from flags and environment that replace the file's, flags first. */
export function collectOverrides(raw: PlainObject, sources: OverrideSources): Overrides {
  const collector = new OverrideCollector(sources)
  collector.collectPlain()
  collector.collectStore(isPlainObject(raw.store) ? raw.store.driver : undefined)
  collector.collectAuth(isPlainObject(raw.auth) ? raw.auth : {})
  return collector
}

// These affect more than their own option; the others only replace it.
const HANDLED_APART = new Set(['DATABASE_URL', 'KORA_DB', 'KORA_AUTH_SECRET', 'KORA_JWKS_URL'])
const FLAGS_BY_PATH: { readonly [path: string]: keyof ConfigFlags } = {
  host: 'host',
  port: 'port',
  path: 'path',
  schema: 'schema',
  'log.level': 'logLevel',
}

class OverrideCollector implements Overrides {
  readonly overrides = new Map<string, Override>()
  readonly voided = new Set<string>()
  readonly problems: ConfigProblem[] = []
  readonly #sources: OverrideSources

  constructor(sources: OverrideSources) {
    this.#sources = sources
  }

  collectPlain(): void {
    for (const option of OPTIONS) {
      if (!('type' in option)) continue
      const flag = FLAGS_BY_PATH[option.path]
      const isApart = option.env === undefined || HANDLED_APART.has(option.env)
      const override = (flag && this.#flag(flag)) ?? (isApart ? undefined : this.#variable(option.env))
      if (override !== undefined) this.overrides.set(option.path, override)
    }
  }

  /** @param chosen the driver named in the file */
  collectStore(chosen: unknown): void {
    const store = this.#flag('store')
    const db = this.#flag('db')
    if (db !== undefined) this.#overrideDatabase(db, store)
    else this.#collectStoreVariables(chosen)
    if (store !== undefined) this.overrides.set('store.driver', store)
  }

  #overrideDatabase(db: Override, store: Override | undefined): void {
    const isUrl = isPostgresUrl(String(db.value))
    const driver = store?.value ?? (isUrl ? 'postgres' : 'sqlite')
    if (driver === 'memory') this.#report('--db', 'the memory store has no database; leave it out')
    this.overrides.set('store.driver', { ...db, value: driver })
    if (driver === 'sqlite' && isUrl) this.#report('--db', 'is a PostgreSQL URL, but --store is sqlite')
    else this.overrides.set(driver === 'postgres' ? 'store.connectionString' : 'store.filename', db)
  }

  /**
   * Applies the variables for the store. A named PostgreSQL database wins over a file, and so does any other driver
   * that is named. Container images and unit files name a SQLite file only as a fallback; if it won, a missing URL
   * would silently lead to another, empty store.
   */
  #collectStoreVariables(chosen: unknown): void {
    const url = this.#variable('DATABASE_URL')
    const file = this.#variable('KORA_DB')
    if (url !== undefined) this.overrides.set('store.connectionString', url)
    if (file !== undefined && isPostgresUrl(String(file.value))) {
      this.#report('store.filename (KORA_DB)', 'is a PostgreSQL URL; set DATABASE_URL instead')
    } else if (file !== undefined) this.overrides.set('store.filename', file)
    if (url !== undefined) this.overrides.set('store.driver', { ...url, value: 'postgres' })
    else if (file !== undefined && chosen === undefined)
      this.overrides.set('store.driver', { ...file, value: 'sqlite' })
  }

  /**
   * Applies secrets for tokens: one that is set but ignored would leave a server open that its operator believes
   * closed.
   */
  collectAuth(auth: PlainObject): void {
    const secret = this.#variable('KORA_AUTH_SECRET')
    const jwksUrl = this.#variable('KORA_JWKS_URL')
    if (secret !== undefined && jwksUrl !== undefined) {
      this.#report('auth', 'KORA_AUTH_SECRET and KORA_JWKS_URL are both set; unset one')
    } else if (secret !== undefined) {
      this.#overrideSecret(auth, secret)
    } else if (jwksUrl !== undefined) {
      this.#overrideJwksUrl(auth, jwksUrl)
    }
  }

  #overrideSecret(auth: PlainObject, secret: Override): void {
    const usesJwt = auth.mode === 'jwt' || (auth.mode === 'mixed' && auth.jwt !== undefined)
    if (usesJwt) {
      this.overrides.set('auth.jwt.secret', secret)
      this.#void('auth.jwt.keys', 'auth.jwt.jwksUrl')
    } else if (auth.mode === undefined || auth.mode === 'kora' || auth.mode === 'mixed') {
      this.overrides.set('auth.secret', secret)
      if (isModeOpen(auth)) this.overrides.set('auth.mode', { ...secret, value: 'kora' })
    } else {
      this.#reportUnusedAuth('KORA_AUTH_SECRET', auth.mode)
    }
  }

  #overrideJwksUrl(auth: PlainObject, jwksUrl: Override): void {
    if (auth.mode !== undefined && auth.mode !== 'jwt' && auth.mode !== 'mixed') {
      this.#reportUnusedAuth('KORA_JWKS_URL', auth.mode)
      return
    }
    this.overrides.set('auth.jwt.jwksUrl', jwksUrl)
    this.#void('auth.jwt.keys', 'auth.jwt.secret', 'auth.secret')
    if (isModeOpen(auth)) this.overrides.set('auth.mode', { ...jwksUrl, value: 'jwt' })
  }

  #reportUnusedAuth(variable: string, mode: unknown): void {
    this.#report(
      'auth.mode',
      `${variable} is set, but mode ${JSON.stringify(mode)} does not use it; unset one of them`,
    )
  }

  #flag(name: keyof ConfigFlags): Override | undefined {
    const value = this.#sources.flags[name]
    if (value === undefined) return undefined
    const flag = `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
    return { value, origin: { kind: 'flag', name: flag }, baseDir: this.#sources.cwd }
  }

  /**
   * Reads a variable. One that is set to nothing counts as not set, because compose files pass on unset variables
   * that way.
   */
  #variable(name: string | undefined): Override | undefined {
    if (name === undefined) return undefined
    const { env, dotenv, cwd, configDir } = this.#sources
    const fromEnv = ownText(env, name)
    if (fromEnv) return { value: fromEnv, origin: { kind: 'environment', name }, baseDir: cwd }
    const fromDotenv = ownText(dotenv, name)
    if (fromDotenv) return { value: fromDotenv, origin: { kind: 'dotenv', name }, baseDir: configDir }
    return undefined
  }

  #void(...paths: readonly string[]): void {
    for (const path of paths) this.voided.add(path)
  }

  #report(path: string, message: string): void {
    this.problems.push({ path, message })
  }
}

/** True where the file does not say how tokens are verified, so that the variable that is set decides. */
function isModeOpen(auth: PlainObject): boolean {
  return ['mode', 'jwt', 'secret', 'anonymous', 'provider'].every((name) => auth[name] === undefined)
}

function ownText(values: { readonly [name: string]: string | undefined }, name: string): string | undefined {
  return Object.hasOwn(values, name) ? values[name] : undefined
}
