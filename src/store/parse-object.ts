export type JsonObject = { readonly [key: string]: unknown }

/** The object, or the list, that a line of JSON holds; null for every other text. */
export function parseObject(text: string): JsonObject | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as JsonObject) : null // any object has this shape
  } catch {
    return null
  }
}
