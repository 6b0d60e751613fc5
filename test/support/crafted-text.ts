/*
 * Rich texts that no editor makes: updates of Yjs, byte by byte.
 */

export const STRING = 4
const WITH_RIGHT_ORIGIN = 64
export const BASE_CLIENT = 1_000_000

/** A string of one client, and before each character of it one by another client, which has seen none of the others. */
export function conflictingItems(count: number): Uint8Array {
  const base = [...uints(1, BASE_CLIENT, 0), STRING, 1, ...text('content'), ...text('b'.repeat(count))]
  const others = countedDown(count, (client) => [
    ...uints(1, client, 0),
    STRING | WITH_RIGHT_ORIGIN,
    ...uints(BASE_CLIENT, count - client),
    ...text('a'),
  ])
  return Uint8Array.from([...uints(count + 1), ...base, ...others, 0])
}

export function countedDown(count: number, bytesOf: (client: number) => readonly number[]): number[] {
  return Array.from({ length: count }, (_, index) => bytesOf(count - index)).flat()
}

export function uints(...values: readonly number[]): number[] {
  return values.flatMap((value) => {
    const bytes: number[] = []
    for (let rest = value; ; rest = Math.floor(rest / 128)) {
      bytes.push(rest < 128 ? rest : 128 + (rest % 128))
      if (rest < 128) return bytes
    }
  })
}

export function text(value: string): number[] {
  return [...uints(value.length), ...Buffer.from(value, 'ascii')]
}
