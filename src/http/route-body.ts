import { pipeline, Readable, Transform } from 'node:stream'
import { describeValue } from '../protocol/json-value.ts'

/** The body to send for what a route of the application returned. */
export interface RoutePayload {
  readonly content: string | Uint8Array | Readable
  readonly isJson: boolean
}

/**
 * Text, bytes and streams of them are sent as they are, everything else as JSON.
 *
 * @throws TypeError for a value that JSON would lose: a function, or a `Map` or a `Response`, which would become
 *   `{}`
 */
export function routePayload(body: unknown): RoutePayload {
  if (body instanceof Readable) return { content: checkedStream(body), isJson: false }
  const content = textOrBytes(body)
  return content === null ? { content: toJson(body), isJson: true } : { content, isJson: false }
}

/** A value that can be written to a response; for anything else, an error event would end the process. */
function textOrBytes(value: unknown): string | Uint8Array | null {
  if (typeof value === 'string') return value
  if (ArrayBuffer.isView(value)) return bytesOf(value)
  return value instanceof ArrayBuffer ? new Uint8Array(value) : null
}

function bytesOf(view: ArrayBufferView): Uint8Array {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
  return view.buffer instanceof ArrayBuffer ? bytes : Uint8Array.from(bytes) // shared memory cannot be sent
}

function toJson(body: unknown): string {
  const json: string | undefined = JSON.stringify(body)
  // JSON finds nothing in most objects of built-in classes, which this recognizes by their name.
  const isLost = json === '{}' && Object.prototype.toString.call(body) !== '[object Object]'
  if (json === undefined || isLost) {
    throw new TypeError(
      `The route returned ${describeValue(body)} as body where text, bytes, a stream of them or JSON belongs.`,
    )
  }
  return json
}

/** The same stream, except that it fails on a chunk that cannot be sent: an application's stream may yield anything. */
function checkedStream(body: Readable): Readable {
  const checked = new Transform({
    writableObjectMode: true,
    writableHighWaterMark: 1, // in chunks: the application's stream has a buffer of its own
    transform(chunk: unknown, _encoding, done) {
      const content = textOrBytes(chunk)
      if (content !== null) return done(null, content)
      done(new TypeError(`The body of a route yielded ${describeValue(chunk)} where text or bytes belong.`))
    },
  })
  pipeline(body, checked, () => {}) // the reader of the stream learns of its failure
  return checked
}
