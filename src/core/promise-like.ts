/**
 * True for what an async function gives back. Code of the application may be one where nothing is to be given back:
 * nobody else meets its rejection, which would end the process.
 */
export function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function'
}
