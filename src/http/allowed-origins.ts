import { describeValue } from '../protocol/json-value.ts'

/**
 * What is wrong with an origin of web pages that may connect: that they have a host.
 *
 * @returns null when it may stand in a configuration
 */
export function originProblem(origin: unknown): string | null {
  if (typeof origin !== 'string' || !URL.canParse(origin) || new URL(origin).origin === 'null')
    return noOrigin(origin)
  return unsentOriginProblem(origin)
}

/**
 * What keeps an origin from ever being sent. They are compared with what browsers send, letter by letter: one with a
 * slash at its end would let nobody in.
 *
 * @returns null for one that is sent: also `null`, and those of shells around web pages, such as `capacitor://localhost`
 */
export function unsentOriginProblem(given: unknown): string | null {
  if (given === 'null') return null
  if (typeof given !== 'string' || !URL.canParse(given)) return noOrigin(given)
  const { origin } = new URL(given)
  if (origin === 'null' || origin === given) return null
  return `${describeValue(given)} is never sent by a browser: write '${origin}'`
}

function noOrigin(given: unknown): string {
  return `${describeValue(given)} is no origin, such as 'https://app.example.com'`
}
