import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import { messageOf } from '../core/error-message.ts'
import { ConfigError } from '../core/errors.ts'
import { LOG_EVENTS } from '../core/log-events.ts'
import { type Logger, logEvent } from '../core/logger.ts'
import { isLoopback } from '../core/loopback.ts'
import type { Runtime, Timer } from '../core/runtime.ts'

export interface TlsOptions {
  /** Certificate chain, PEM. */
  readonly certFile: string
  /** Private key, PEM. */
  readonly keyFile: string
}

export interface TlsPair {
  readonly cert: Buffer
  readonly key: Buffer
}

/**
 * How often the files are compared by content. A watcher would not do: renewals swap symbolic links and
 * directories, which a watcher on the file does not notice.
 */
const LOOK_INTERVAL_MS = 10_000

/** The certificate and the key of a listener, read again when they change. */
export class TlsFiles {
  readonly #options: TlsOptions
  readonly #runtime: Runtime
  readonly #logger: Logger
  #current: TlsPair
  #timer: Timer | null = null

  /** @throws ConfigError `TLS_INVALID` */
  constructor(options: TlsOptions, runtime: Runtime, logger: Logger) {
    this.#options = options
    this.#runtime = runtime
    this.#logger = logger
    this.#current = readTlsPair(options)
  }

  get current(): TlsPair {
    return this.#current
  }

  /** Calls back with a new pair that is valid. Open connections keep the old one. */
  watch(onChange: (pair: TlsPair) => void, intervalMs = LOOK_INTERVAL_MS): void {
    this.#timer = this.#runtime.setTimer(intervalMs, () => {
      this.#look(onChange)
      this.watch(onChange, intervalMs)
    })
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = null
  }

  #look(onChange: (pair: TlsPair) => void): void {
    let next: TlsPair
    try {
      next = readTlsPair(this.#options)
    } catch (error) {
      // Perhaps only one of the two files is new yet: the next look finds both.
      logEvent(this.#logger, LOG_EVENTS.tlsReloadFailed, { err: error })
      return
    }
    if (isSame(next, this.#current)) return
    this.#current = next
    onChange(next)
    logEvent(this.#logger, LOG_EVENTS.tlsReloaded, { certFile: this.#options.certFile })
  }
}

/**
 * TLS for a listener that is only for operators; none on loopback, where traffic needs no protection and the
 * certificate, made for the public name, would not fit.
 */
export function tlsOfOperations(tls: TlsOptions | null, host: string): TlsOptions | null {
  return isLoopback(host) ? null : tls
}

/** @throws ConfigError `TLS_INVALID` */
export function readTlsPair({ certFile, keyFile }: TlsOptions): TlsPair {
  try {
    const pair = { cert: readFileSync(certFile), key: readFileSync(keyFile) }
    createSecureContext(pair) // throws where the two do not belong together
    return pair
  } catch (error) {
    const reason = messageOf(error)
    throw new ConfigError('TLS_INVALID', `${certFile} and ${keyFile} cannot be used for TLS: ${reason}.`, {
      cause: error,
    })
  }
}

function isSame(a: TlsPair, b: TlsPair): boolean {
  return a.cert.equals(b.cert) && a.key.equals(b.key)
}
