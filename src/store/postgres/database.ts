import { hash } from 'node:crypto'
import pg from 'pg'
import { StoreError } from '../../core/errors.ts'
import { sleep } from '../../core/pause.ts'
import { databaseOfPostgresUrl } from '../../core/postgres-url.ts'
import type { Runtime, Timer } from '../../core/runtime.ts'
import { quoteIdentifier } from '../quote-identifier.ts'
import { type ClientConfig, clientConfigOf } from './client-config.ts'
import { NO_LIMITS } from './no-limits.ts'
import type { PostgresServerStoreOptions } from './options.ts'
import { isLostConnection, isRefusedWrite, isTransient, toStoreError } from './postgres-errors.ts'
import { Reachability } from './reachability.ts'

/** A parameter of a statement; arrays become arrays of the database. */
export type Parameter = unknown

/** Runs statements: each on its own on the pool, or one after the other in a transaction. */
export interface Queries {
  /**
   * @param text SQL in which `{name}` stands for the internal table `_kora_name`
   * @returns the rows as arrays
   */
  rows<Row extends readonly unknown[]>(text: string, parameters?: readonly Parameter[]): Promise<Row[]>
  /** Returns rows as objects, for tables whose columns the schema names. The SQL is used as it is. */
  records(text: string, parameters: readonly Parameter[]): Promise<Record<string, unknown>[]>
}

/** One transaction. */
export interface Transaction extends Queries {
  /** The same as `rows`, for the statements of every commit: parsed and planned once per connection. */
  prepared<Row extends readonly unknown[]>(text: string, parameters: readonly Parameter[]): Promise<Row[]>
  /**
   * The same as `prepared`, for a statement without a needed result: it is only sent, and has completed by the
   * commit at the latest.
   */
  execute(text: string, parameters: readonly Parameter[]): void
  /** The same as `prepared`, for the last statement: the commit is sent right after it, whatever its result. */
  commitWith<Row extends readonly unknown[]>(text: string, parameters: readonly Parameter[]): Promise<Row[]>
}

export interface TransactionOptions {
  /** True when the action awaits a read before it writes: the read is then sent without waiting for BEGIN. */
  readonly beginsWithReads?: boolean
  /** True when its statements, and the time between them, have no limit. */
  readonly isLong?: boolean
  /** Runs between two attempts. */
  readonly beforeRetry?: (error: unknown) => Promise<unknown>
}

interface AttemptOptions extends TransactionOptions {
  /** The statements that begin the transaction. */
  readonly begin?: string
}

interface OpenTransaction {
  /** Statements that were not awaited; the commit awaits them. */
  readonly sent: Promise<unknown>[]
  /** Sends the commit after the statements sent so far. */
  readonly commit: () => void
  readonly isLong: boolean
}

/** Thrown to restart a transaction. */
export class RetryTransaction extends Error {}

// Prepared statements keep plans that were made while a table was empty, and would read all of it once it has
// grown. Every statement of a transaction has an index to use.
const PLANNING =
  'SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; ' +
  // Plans are the same for arrays of any length; one plan per length took a tenth of the database's time.
  'SET LOCAL plan_cache_mode = force_generic_plan'

// A server that is cut off during a transaction keeps what others wait for until the database gives up on it: which
// has to be sooner than they do (lockTimeoutMs).
const IDLE_IN_TRANSACTION_MS = 8000

const GOODBYE_MS = 1000

const MAX_ATTEMPTS = 8
const RETRY_PAUSE_MS = 5

/** The part of `pg`'s pool that is used. @see ClientConfig for why it has no type of its own */
export interface ConnectionPool {
  query<Row extends object>(text: string): Promise<{ readonly rows: Row[] }>
  on(event: 'acquire', listener: (client: { end(): Promise<void> }) => void): unknown
}

/** The connections to one database, and everything that statements have in common. */
export class PostgresDatabase implements Queries {
  /** Host, port and database, for messages. */
  readonly name: string
  readonly schema: string
  readonly runtime: Runtime
  readonly isReadOnly: boolean
  readonly clientConfig: ClientConfig
  readonly #pool: pg.Pool
  /** ms that a statement waits for a lock; 0: without limit */
  readonly lockTimeoutMs: number
  /** The least durability of a commit. @see useDurability */
  #synchronousCommit = 'on'
  readonly #reachability: Reachability
  readonly #hasPreparedStatements: boolean
  readonly #texts = new Map<string, string>()
  readonly #names = new Map<string, string>()
  /** Counts how often a host turned out to refuse writes: connections made before that lead to it. */
  #demotions = 0
  readonly #demotionsBefore = new WeakMap<pg.PoolClient, number>()
  /** PostgreSQL's message as it ended a connection, whose user would otherwise only see that it is gone. */
  readonly #lastWords = new WeakMap<pg.PoolClient, pg.DatabaseError>()
  /** Connections that the pool must not hand out again. */
  readonly #unusable = new WeakSet<pg.PoolClient>()
  #lostConnections = 0
  #isClosed = false

  constructor(options: PostgresServerStoreOptions, runtime: Runtime) {
    this.schema = options.schema ?? 'public'
    this.runtime = runtime
    this.#hasPreparedStatements = options.preparedStatements ?? true
    this.isReadOnly = (options.readOnly ?? false) !== false
    this.#reachability = new Reachability(runtime, () => this.#tryConnection())
    this.lockTimeoutMs = options.lockTimeoutMs ?? 10_000
    this.clientConfig = {
      ...clientConfigOf(options, this.lockTimeoutMs),
      stream: () => this.#reachability.openSocket(),
    }
    this.name = databaseOfPostgresUrl(options.connectionString) ?? 'the PostgreSQL database'
    this.#pool = new pg.Pool({
      ...this.clientConfig,
      max: options.poolSize ?? 10,
      idleTimeoutMillis: options.idleTimeoutMs ?? 30_000,
      allowExitOnIdle: true,
    })
    // The pool replaces a connection that breaks while it is unused; without a listener the process would end.
    this.#pool.on('error', () => {})
    this.#pool.on('connect', (client) => {
      this.#demotionsBefore.set(client, this.#demotions)
      client.on('error', (error) => {
        this.#lostConnections++ // the running statement fails with the same error
        if (error instanceof pg.DatabaseError) this.#lastWords.set(client, error)
      })
    })
    this.#pool.on('release', (error: unknown) => {
      if (error) this.#lostConnections++ // with an error, the pool discards it
    })
  }

  /**
   * Counts connections that were lost or discarded: later ones may lead to another host, which may have less than
   * what was read before.
   */
  get lostConnections(): number {
    return this.#lostConnections
  }

  get pool(): ConnectionPool {
    return this.#pool
  }

  /** Keeps a stricter setting of the administrator (`remote_apply`), and never accepts a weaker one. */
  useDurability(synchronousCommit: string): void {
    this.#synchronousCommit =
      synchronousCommit === 'off' || synchronousCommit === 'local' ? 'on' : synchronousCommit
  }

  /** A quoted name in the database, with its schema. */
  table(name: string): string {
    return `${quoteIdentifier(this.schema)}.${quoteIdentifier(name)}`
  }

  /** Replaces the names of internal tables in SQL. */
  sql(text: string): string {
    let known = this.#texts.get(text)
    if (known === undefined) {
      known = text.replace(/\{(\w+)\}/g, (_, name: string) => this.table(`_kora_${name}`))
      this.#texts.set(text, known)
    }
    return known
  }

  async rows<Row extends readonly unknown[]>(
    text: string,
    parameters: readonly Parameter[] = [],
  ): Promise<Row[]> {
    this.assertUsable()
    return this.#guard(async () => {
      const config = { text: this.sql(text), values: [...parameters], rowMode: 'array' as const }
      return (await this.#answer(this.#pool.query(config))).rows as unknown as Row[]
    })
  }

  async records(text: string, parameters: readonly Parameter[]): Promise<Record<string, unknown>[]> {
    this.assertUsable()
    return this.#guard(async () => (await this.#answer(this.#pool.query(text, [...parameters]))).rows)
  }

  /**
   * Runs `action` in a transaction that is durable when the promise resolves. It is repeated when it loses against
   * another transaction, so it must change nothing but the database.
   *
   * @throws StoreError when the database could not commit, or did not say whether it has
   */
  async transaction<Result>(
    action: (transaction: Transaction) => Promise<Result>,
    options: TransactionOptions = {},
  ): Promise<Result> {
    for (let attempt = 1; ; attempt++) {
      this.assertUsable()
      try {
        return await this.#attempt(action, options)
      } catch (error) {
        const mayRetry = error instanceof RetryTransaction || isTransient(error)
        if (!mayRetry || attempt >= MAX_ATTEMPTS) throw toStoreError(error, this.name)
        await options.beforeRetry?.(error)
      }
      await this.sleep(RETRY_PAUSE_MS * attempt * attempt)
    }
  }

  /** Runs `action` on the database as it is at one moment. */
  async snapshot<Result>(action: (queries: Queries) => Promise<Result>): Promise<Result> {
    this.assertUsable()
    return this.#guard(() =>
      this.#attempt(action, { begin: 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY' }),
    )
  }

  /** @throws StoreError `STORE_CLOSED`; `STORE_UNAVAILABLE` while the database does not answer */
  assertUsable(): void {
    if (this.#isClosed) throw storeClosed()
    if (!this.#reachability.isReachable) {
      throw new StoreError('STORE_UNAVAILABLE', `${this.name}: no answer comes back from it.`)
    }
  }

  sleep(delayMs: number): Promise<void> {
    return sleep(this.runtime, delayMs)
  }

  /**
   * Finishes calls that are under way, and closes the connections. After `GOODBYE_MS`, connections that are still
   * in use are cut, and calls that still wait for one fail because the store is closed.
   */
  async close(): Promise<void> {
    this.#isClosed = true
    let timer: Timer | undefined
    const timeIsUp = new Promise<'late'>((resolve) => {
      timer = this.runtime.setTimer(GOODBYE_MS, () => resolve('late'), { isAwaited: true })
    })
    await this.#untilAllConnected(timeIsUp)
    const ended = this.#pool.end()
    await Promise.race([ended, timeIsUp])
    timer?.cancel()
    this.#reachability.close()
    await ended
    await new Promise<void>((resolve) => this.runtime.defer(resolve)) // users of lost connections hear first
    this.#reachability.giveUp(storeClosed()) // for the rest, which the pool has forgotten
  }

  /** Waits for those who want a connection, because a pool that has ended hands out no more. */
  async #untilAllConnected(timeIsUp: Promise<'late'>): Promise<void> {
    while (this.#pool.waitingCount > 0) {
      const handedOut = new Promise<void>((resolve) => void this.#pool.once('acquire', () => resolve()))
      if ((await Promise.race([handedOut, timeIsUp])) === 'late') return
    }
  }

  async #tryConnection(): Promise<void> {
    const client = new pg.Client(this.clientConfig)
    client.on('error', () => {}) // nothing is asked of it
    try {
      await client.connect()
    } finally {
      void client.end().catch(() => {})
    }
  }

  async #connect(): Promise<pg.PoolClient> {
    for (;;) {
      const client = await this.#answer(this.#pool.connect())
      if (this.#demotionsBefore.get(client) === this.#demotions) return client
      client.release(true)
    }
  }

  async #attempt<Result>(
    action: (transaction: Transaction) => Promise<Result>,
    options: AttemptOptions,
  ): Promise<Result> {
    const client = await this.#connect()
    try {
      return await this.#runOn(client, action, options)
    } catch (error) {
      this.#noteFailure(client, error)
      throw isLostConnection(error) ? (this.#lastWords.get(client) ?? error) : error
    } finally {
      client.release(this.#unusable.has(client))
    }
  }

  async #runOn<Result>(
    client: pg.PoolClient,
    action: (transaction: Transaction) => Promise<Result>,
    { begin = this.#beginText(), beginsWithReads = false, isLong = false }: AttemptOptions,
  ): Promise<Result> {
    const begun = this.#answer(client.query(isLong ? `${begin}; ${NO_LIMITS}` : begin))
    begun.catch(() => {}) // handled below, even where the action fails first
    if (!beginsWithReads) await begun
    const sent: Promise<unknown>[] = [begun]
    try {
      return await this.#runAndCommit(client, action, { sent, isLong })
    } catch (error) {
      await this.#rollBack(client)
      throw await firstFailure(sent, error)
    }
  }

  async #runAndCommit<Result>(
    client: pg.PoolClient,
    action: (transaction: Transaction) => Promise<Result>,
    { sent, isLong }: Pick<OpenTransaction, 'sent' | 'isLong'>,
  ): Promise<Result> {
    let committed: Promise<pg.QueryResult> | null = null
    const commit = (): void => {
      committed = this.#answer(client.query('COMMIT'))
      committed.catch(() => {}) // handled below, unless the action fails first
    }
    const result = await action(this.#transactionOn(client, { sent, commit, isLong }))
    committed ??= this.#answer(client.query('COMMIT'))
    await Promise.all([...sent, committed])
    // The commit of a failed transaction rolls it back without reporting an error.
    if ((await committed).command !== 'COMMIT') throw new Error('The transaction was rolled back')
    return result
  }

  async #rollBack(client: pg.PoolClient): Promise<void> {
    try {
      await this.#answer(client.query('ROLLBACK'))
    } catch {
      this.#unusable.add(client) // the next user of it might end up inside the transaction
    }
  }

  /** Allows a connection to be used again only if the database itself reported the error, and accepts writes. */
  #noteFailure(client: pg.PoolClient, error: unknown): void {
    const isUnderstood = error instanceof pg.DatabaseError || error instanceof RetryTransaction
    const isDemoted = isRefusedWrite(error)
    if (!isUnderstood || isDemoted) this.#unusable.add(client)
    if (isDemoted && this.#demotionsBefore.get(client) === this.#demotions) this.#demotions++
  }

  #beginText(): string {
    const mode = this.isReadOnly ? 'BEGIN READ ONLY' : 'BEGIN'
    return (
      `${mode}; SET LOCAL synchronous_commit = ${this.#synchronousCommit}; ` +
      `SET LOCAL idle_in_transaction_session_timeout = ${IDLE_IN_TRANSACTION_MS}; ${PLANNING}`
    )
  }

  #transactionOn(client: pg.PoolClient, { sent, commit, isLong }: OpenTransaction): Transaction {
    const timeout = isLong ? { query_timeout: LONGEST_TIMEOUT_MS } : {}
    const run = async <Row>(
      text: string,
      parameters: readonly Parameter[],
      name?: string,
    ): Promise<Row[]> => {
      const config = { text, values: [...parameters], rowMode: 'array' as const, ...timeout }
      // Several statements in one text have a result each, of which nothing is returned.
      const { rows = [] } = await this.#answer(client.query(name ? { ...config, name } : config))
      await sent[0] // without the transaction, nothing may follow
      return rows as unknown as Row[]
    }
    const prepared = <Row extends readonly unknown[]>(text: string, parameters: readonly Parameter[]) =>
      run<Row>(
        this.sql(text),
        parameters,
        this.#hasPreparedStatements ? this.#statementName(text) : undefined,
      )
    return {
      rows: (text, parameters = []) => run(this.sql(text), parameters),
      prepared,
      execute: (text, parameters) => {
        const answer = prepared(text, parameters)
        answer.catch(() => {}) // the commit handles it
        sent.push(answer)
      },
      commitWith: <Row extends readonly unknown[]>(text: string, parameters: readonly Parameter[]) => {
        const answer = prepared<Row>(text, parameters)
        commit()
        return answer
      },
      records: async (text, parameters) =>
        (await this.#answer(client.query({ text, values: [...parameters], ...timeout }))).rows,
    }
  }

  #statementName(text: string): string {
    let name = this.#names.get(text)
    if (name === undefined) {
      name = `kora_${hash('sha256', this.sql(text), 'hex').slice(0, 24)}`
      this.#names.set(text, name)
    }
    return name
  }

  async #guard<Result>(action: () => Promise<Result>): Promise<Result> {
    try {
      return await action()
    } catch (error) {
      throw toStoreError(error, this.name)
    }
  }

  /** Awaits an answer of the database, and notices when nothing comes back any more. */
  #answer<Result>(answer: Promise<Result>): Promise<Result> {
    return this.#reachability.answer(answer)
  }
}

function storeClosed(): StoreError {
  return new StoreError('STORE_CLOSED', 'The store is closed. Open a new one.')
}

/** The error that caused the others: after it, every statement fails only because of it. */
async function firstFailure(sent: readonly Promise<unknown>[], fallback: unknown): Promise<unknown> {
  for (const outcome of await Promise.allSettled(sent)) {
    if (outcome.status === 'rejected') return outcome.reason
  }
  return fallback
}

const LONGEST_TIMEOUT_MS = 2 ** 31 - 1 // of a timer
