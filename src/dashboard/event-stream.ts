export interface ServerEvent {
  readonly name: string
  readonly data: unknown
}

/** Longest text of one event; a longer one is not from this server. */
const MAX_EVENT_LENGTH = 1024 * 1024

/** Reads server-sent events until the stream ends. */
export async function* readEvents(stream: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent> {
  const reader = stream.getReader()
  const decoder = new TextDecoder()
  let text = ''
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      text += decoder.decode(value, { stream: true })
      for (let end = text.indexOf('\n\n'); end !== -1; end = text.indexOf('\n\n')) {
        const event = parseEvent(text.slice(0, end))
        text = text.slice(end + 2)
        if (event !== null) yield event
      }
      if (text.length > MAX_EVENT_LENGTH) throw new Error('An event is too long')
    }
  } finally {
    reader.cancel().catch(() => {})
  }
}

function parseEvent(block: string): ServerEvent | null {
  let name = 'message'
  let data = ''
  for (const line of block.split('\n')) {
    if (line.startsWith('event: ')) name = line.slice(7)
    else if (line.startsWith('data: ')) data += line.slice(6)
  }
  return data === '' ? null : { name, data: JSON.parse(data) }
}
