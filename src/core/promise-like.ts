/**
 * True for the result of an async function. An application's callback may be async even where no result is
 * expected; its rejection has to be handled here, or it would end the process.
 */
export function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function'
}
