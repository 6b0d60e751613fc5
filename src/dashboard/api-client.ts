/** The server refused, or could not be reached (status 0). */
export class ApiError extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

/** Until an answer is there: counting a large collection may take long. */
const ANSWER_WITHIN_MS = 30_000

export type Parameters = { readonly [name: string]: string | number }

/** Asks the server. The token lives in this object and nowhere else. */
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
   * The server-sent events, which `EventSource` could not ask for with a token.
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
    const headers: Record<string, string> = { accept: 'application/json, text/event-stream' }
    if (this.#token !== null) headers.authorization = `Bearer ${this.#token}`
    try {
      const response = await fetch(path, {
        headers,
        cache: 'no-store',
        credentials: 'omit',
        redirect: 'error',
        signal,
      })
      if (!response.ok) throw new ApiError(response.status, await errorText(response))
      return await read(response)
    } catch (error) {
      throw failureOf(error)
    }
  }
}

/** What it means that a question failed; an abort is the asker's own. */
function failureOf(error: unknown): unknown {
  if (error instanceof ApiError || isAborted(error)) return error
  if (error instanceof DOMException && error.name === 'TimeoutError')
    return new ApiError(0, `The server has not answered for ${ANSWER_WITHIN_MS / 1000} seconds.`)
  return new ApiError(0, 'The server cannot be reached.')
}

export function isAborted(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'AbortError'
}

async function errorText(response: Response): Promise<string> {
  try {
    const { error } = (await response.json()) as { error?: unknown }
    if (typeof error === 'string') return error
  } catch {
    // Not JSON: from a proxy, whose text says nothing of this server.
  }
  return `The server answered ${response.status}.`
}
