import type { Attributes, Span } from '@opentelemetry/api'
import { messageOf } from './error-message.ts'
import { lazyRequire } from './lazy-require.ts'

/**
 * The spans for OpenTelemetry, and what each lasts from and to. Without an SDK in the process there
 * are none, and the API is not loaded. docs/metrics.md lists them from this table.
 */
export const SPANS = {
  'kora.handshake': 'the handshake of a client, to its answer',
  'kora.catch_up': 'the accepted handshake, to the end of the initial stream',
  'kora.ingest': 'a batch that passed the guards, to its acknowledgment',
  'kora.commit': 'one transaction of many batches',
} as const satisfies Record<string, string>

export type SpanName = keyof typeof SPANS

const api = lazyRequire<typeof import('@opentelemetry/api')>('@opentelemetry/api')

/** Where an SDK of any version 1 registers itself, so that it is found by every copy of the API. */
const REGISTRY = Symbol.for('opentelemetry.js.api.1')

/**
 * Starts a span that stands for itself: what ends it runs in another call than what began it.
 *
 * @returns null without an SDK
 */
export function startSpan(name: SpanName, attributes?: Attributes): Span | null {
  if (!(REGISTRY in globalThis)) return null
  return api()
    .trace.getTracer('kora-server')
    .startSpan(name, attributes && { attributes })
}

/** Ends a span, which an error marks as failed. null does nothing. */
export function endSpan(span: Span | null, error?: unknown): void {
  if (span === null) return
  if (error !== undefined) {
    const message = messageOf(error)
    span.setStatus({ code: api().SpanStatusCode.ERROR, message })
  }
  span.end()
}
