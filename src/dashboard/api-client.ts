/** The server refused, or could not be reached (status 0). */
export class ApiError extends Error {
  readonly status: number
  /** How long the server asks us to wait before the next request, in ms; 0 when it does not say. */
  readonly retryAfterMs: number

  constructor(status: number, message: string, retryAfterMs = 0) {
    super(message)
    this.status = status
    this.retryAfterMs = retryAfterMs
  }
}

/** Time limit of an answer: counting a large collection may take long. */
const ANSWER_WITHIN_MS = 30_000
const LONGEST_RETRY_AFTER_MS = 60_000 // a proxy may name hours, but a person who looks at a page does not wait that long

export type Parameters = { readonly [name: string]: string | number }

/** Sends requests to the server. The token is kept in this object and nowhere else. */
export class ApiClient {
  readonly #token: string | null

  constructor(token: string | null) {
    this.#token = token
  }

  /** @throws ApiError */
  get<Answer>(name: string, parameters: Parameters = {}, signal?: AbortSignal): Promise<Answer> {
    const query = new URLSearchParams()
    for (const [key, value] of Object.entries(parameters)) query.set(key, String(value))
    const text = query.toString()
    const timeout = AbortSignal.timeout(ANSWER_WITHIN_MS)
    return this.#ask(
      `/__kora/api/${name}${text === '' ? '' : `?${text}`}`,
      signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
      (response) => response.json() as Promise<Answer>, // the server is compiled with the same types
    )
  }

  /**
   * Opens the server-sent events, which `EventSource` cannot do with a token.
   *
   * @param signal ends them
   * @throws ApiError
   */
  events(signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    return this.#ask('/__kora/events', signal, ({ body }) => {
      if (body === null) throw new ApiError(0, 'The server sent no events.')
      return body
    })
  }

  async #ask<Result>(
    path: string,
    signal: AbortSignal,
    read: (response: Response) => Result | Promise<Result>,
  ): Promise<Result> {
    const headers = this.#headers()
    try {
      const response = await fetch(path, {
        headers,
        cache: 'no-store',
        credentials: 'omit',
        redirect: 'error',
        signal,
      })
      if (!response.ok) throw await refusalOf(response)
      return await read(response)
    } catch (error) {
      throw failureOf(error)
    }
  }

  #headers(): Headers {
    const headers = new Headers({ accept: 'application/json, text/event-stream' })
    try {
      if (this.#token !== null) headers.set('authorization', `Bearer ${this.#token}`)
    } catch {
      throw new ApiError(401, 'The token has a character that cannot be sent. Copy it once more.')
    }
    return headers
  }
}

/** Turns a failed request into an error; an abort is passed on, because the caller made it. */
function failureOf(error: unknown): unknown {
  if (error instanceof ApiError || isAborted(error)) return error
  if (error instanceof DOMException && error.name === 'TimeoutError')
    return new ApiError(0, `The server has not answered for ${ANSWER_WITHIN_MS / 1000} seconds.`)
  if (error instanceof SyntaxError)
    return new ApiError(
      0,
      'Something else has answered, perhaps a proxy that asks for a login. Reload the page.',
    )
  return new ApiError(0, 'The server cannot be reached.')
}

export function isAborted(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'AbortError'
}

async function refusalOf(response: Response): Promise<ApiError> {
  const retryAfterMs = Number(response.headers.get('retry-after')) * 1000 || 0 // it may also be a date
  return new ApiError(
    response.status,
    await errorText(response),
    Math.min(Math.max(retryAfterMs, 0), LONGEST_RETRY_AFTER_MS),
  )
}

async function errorText(response: Response): Promise<string> {
  try {
    const { error } = (await response.json()) as { error?: unknown }
    if (typeof error === 'string') return error
  } catch {
    // Not JSON: the text of a proxy, which tells nothing about this server.
  }
  return `The server answered ${response.status}.`
}
