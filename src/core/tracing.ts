import { type Attributes, type Span, SpanStatusCode, trace } from '@opentelemetry/api'

/**
 * Spans for OpenTelemetry. Without an SDK in the process they do nothing: the API then hands out one
 * shared span that ignores everything, about a tenth of a microsecond each time.
 *
 * | Span | From, to |
 * | --- | --- |
 * | `kora.handshake` | the client's handshake, to its answer |
 * | `kora.ingest` | a batch that passed the guards, to its acknowledgment |
 * | `kora.commit` | one transaction of many batches |
 * | `kora.catch_up` | the accepted handshake, to the end of the initial stream |
 */
export type SpanName = 'kora.handshake' | 'kora.ingest' | 'kora.commit' | 'kora.catch_up'

/** Starts a span that stands for itself: what ends it runs in another call than what began it. */
export function startSpan(name: SpanName, attributes?: Attributes): Span {
  return trace.getTracer('kora-server').startSpan(name, attributes && { attributes })
}

export function endSpan(span: Span, error?: unknown): void {
  if (error !== undefined) {
    const message = error instanceof Error ? error.message : String(error)
    span.setStatus({ code: SpanStatusCode.ERROR, message })
  }
  span.end()
}

export type { Span } from '@opentelemetry/api'
