import type { Attributes, Span } from '@opentelemetry/api'
import { messageOf } from './error-message.ts'
import { lazyRequire } from './lazy-require.ts'

/**
 * The OpenTelemetry spans, and the period that each covers. Without an SDK in the process there are none, and the
 * API is not loaded. docs/metrics.md lists them from this table.
 */
export const SPANS = {
  'kora.handshake': 'the handshake of a client, to its answer',
  'kora.catch_up': 'the accepted handshake, to the end of the initial stream',
  'kora.ingest': 'a batch that passed the guards, to its acknowledgment',
  'kora.commit': 'one transaction of many batches',
} as const satisfies Record<string, string>

export type SpanName = keyof typeof SPANS

const api = lazyRequire<typeof import('@opentelemetry/api')>('@opentelemetry/api')

/** The symbol under which any SDK of version 1 registers itself, found by every copy of the API. */
const REGISTRY = Symbol.for('opentelemetry.js.api.1')

/**
 * Starts a span that is not the active one, because it ends in another call than it began in.
 *
 * @returns null without an SDK
 */
export function startSpan(name: SpanName, attributes?: Attributes): Span | null {
  if (!(REGISTRY in globalThis)) return null
  return api()
    .trace.getTracer('kora-server')
    .startSpan(name, attributes && { attributes })
}

/** Ends a span, and marks it as failed if there is an error. Does nothing for null. */
export function endSpan(span: Span | null, error?: unknown): void {
  if (span === null) return
  if (error !== undefined) {
    const message = messageOf(error)
    span.setStatus({ code: api().SpanStatusCode.ERROR, message })
  }
  span.end()
}
