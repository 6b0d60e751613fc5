/** The server refused, or could not be reached (status 0). */
export class ApiError extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

export type Parameters = { readonly [name: string]: string | number }

/** Asks the server. The token lives in this object and nowhere else. */
export class ApiClient {
  readonly #token: string | null

  constructor(token: string | null) {
    this.#token = token
  }

  /** @throws ApiError */
  async get<Answer>(name: string, parameters: Parameters = {}, signal?: AbortSignal): Promise<Answer> {
    const query = new URLSearchParams()
    for (const [key, value] of Object.entries(parameters)) query.set(key, String(value))
    const text = query.toString()
    const response = await this.#fetch(`/__kora/api/${name}${text === '' ? '' : `?${text}`}`, signal)
    return (await response.json()) as Answer // the server is compiled with the same types
  }

  /** The server-sent events, which `EventSource` could not ask for with a token. @throws ApiError */
  async events(signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    const { body } = await this.#fetch('/__kora/events', signal)
    if (body === null) throw new ApiError(0, 'The server sent no events.')
    return body
  }

  async #fetch(path: string, signal: AbortSignal | undefined): Promise<Response> {
    const headers: Record<string, string> = { accept: 'application/json, text/event-stream' }
    if (this.#token !== null) headers.authorization = `Bearer ${this.#token}`
    let response: Response
    try {
      response = await fetch(path, {
        headers,
        cache: 'no-store',
        credentials: 'omit',
        redirect: 'error',
        ...(signal && { signal }),
      })
    } catch (error) {
      if (signal?.aborted) throw error
      throw new ApiError(0, 'The server cannot be reached.')
    }
    if (response.ok) return response
    throw new ApiError(response.status, await errorText(response))
  }
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
