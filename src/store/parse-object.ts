export type JsonObject = { readonly [key: string]: unknown }

/** The object or array in a line of JSON; null for any other text. */
export function parseObject(text: string): JsonObject | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as JsonObject) : null // any object has this shape
  } catch {
    return null
  }
}
