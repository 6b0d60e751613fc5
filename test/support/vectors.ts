import { readFileSync } from 'node:fs'

/**
 * Reads a recorded vector file of test/conformance/vectors and decodes the notation for what JSON
 * cannot carry: `$undefined`, `$number`, `$bytes`, `$date`. `$text`, `$error` and `$function` stand
 * for expectations that only the test at hand can judge; they are left as they are.
 *
 * The caller states the shape of the file as `T`: the files are part of this repository.
 */
export function loadVectors<T>(name: string): T {
  return decodeNotation(loadRawVectors(name)) as T
}

/** The file as plain JSON: for wire messages, which contain no notation. */
export function loadRawVectors(name: string): unknown {
  const url = new URL(`../conformance/vectors/${name}.json`, import.meta.url)
  return JSON.parse(readFileSync(url, 'utf8'))
}

/** Replaces every notation object in a JSON value by what it stands for. */
export function decodeNotation(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(decodeNotation)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value)
  const [key, content] = entries[0] ?? []
  if (entries.length === 1 && key !== undefined) {
    if (key === '$undefined') return undefined
    if (key === '$number') return Number(content)
    if (key === '$bytes') return new Uint8Array(Buffer.from(String(content), 'base64'))
    if (key === '$date') return new Date(String(content))
  }
  return Object.fromEntries(entries.map(([name, item]) => [name, decodeNotation(item)]))
}
