import { pipeline, Readable, Transform } from 'node:stream'
import { describeValue } from '../protocol/json-value.ts'

/** What goes out for the body that a route of the application returned. */
export interface RoutePayload {
  readonly content: string | Uint8Array | Readable
  readonly isJson: boolean
}

/**
 * Text, bytes and streams of them go out as they are, everything else as JSON.
 *
 * @throws TypeError for what JSON has nothing of: a function, and a `Map` or a `Response`, which would be `{}`
 */
export function routePayload(body: unknown): RoutePayload {
  if (body instanceof Readable) return { content: checkedStream(body), isJson: false }
  const content = textOrBytes(body)
  return content === null ? { content: toJson(body), isJson: true } : { content, isJson: false }
}

/** What can be written to a response, of which an error for anything else would end the process. */
function textOrBytes(value: unknown): string | Uint8Array | null {
  if (typeof value === 'string') return value
  if (ArrayBuffer.isView(value)) return bytesOf(value)
  return value instanceof ArrayBuffer ? new Uint8Array(value) : null
}

function bytesOf(view: ArrayBufferView): Uint8Array {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
  return view.buffer instanceof ArrayBuffer ? bytes : Uint8Array.from(bytes) // memory that is shared cannot be sent
}

function toJson(body: unknown): string {
  const json: string | undefined = JSON.stringify(body)
  // An object of a built-in class names it, and most keep their content where JSON does not look for it.
  const isLost = json === '{}' && Object.prototype.toString.call(body) !== '[object Object]'
  if (json === undefined || isLost) {
    throw new TypeError(
      `The route returned ${describeValue(body)} as body where text, bytes, a stream of them or JSON belongs.`,
    )
  }
  return json
}

/** The same stream, which fails where the application's yields something else: a stream of objects may yield anything. */
function checkedStream(body: Readable): Readable {
  const checked = new Transform({
    writableObjectMode: true,
    writableHighWaterMark: 1, // chunks: the application's stream has a buffer of its own
    transform(chunk: unknown, _encoding, done) {
      const content = textOrBytes(chunk)
      if (content !== null) return done(null, content)
      done(new TypeError(`The body of a route yielded ${describeValue(chunk)} where text or bytes belong.`))
    },
  })
  pipeline(body, checked, () => {}) // whoever reads it is told of its failure
  return checked
}
