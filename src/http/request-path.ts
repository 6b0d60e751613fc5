import type { IncomingMessage } from 'node:http'

/** The path without its query. Request targets may be anything: this must not throw. */
export function pathOf(request: IncomingMessage): string {
  const target = request.url ?? '/'
  const end = target.search(/[?#]/)
  return end === -1 ? target : target.slice(0, end)
}
