import { describeValue } from '../protocol/json-value.ts'

/**
 * What is wrong with an origin of web pages that may connect. It has to have a host.
 *
 * @returns null when it may be configured
 */
export function originProblem(origin: unknown): string | null {
  if (typeof origin !== 'string' || !URL.canParse(origin) || new URL(origin).origin === 'null')
    return noOrigin(origin)
  return unsentOriginProblem(origin)
}

/**
 * What is wrong with an origin that no browser ever sends. Origins are compared letter by letter with what browsers
 * send, so one that ends with a slash would let nobody in.
 *
 * @returns null for an origin that may be sent, including `null`, and those of shells around web pages, such as
 *   `capacitor://localhost`
 */
export function unsentOriginProblem(given: unknown): string | null {
  if (given === 'null') return null
  if (typeof given !== 'string' || !URL.canParse(given)) return noOrigin(given)
  const { origin } = new URL(given)
  if (origin === 'null' || origin === given) return null
  return `${describeValue(given)} is never sent by a browser: write '${origin}'`
}

function noOrigin(given: unknown): string {
  return `${describeValue(given)} is not an origin, such as 'https://app.example.com'`
}
