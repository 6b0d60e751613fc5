/**
 * The encoding that a request prefers; among equally preferred ones, the first that is offered.
 *
 * @param accepted the value of `Accept-Encoding`
 * @returns null when it accepts none of them
 * @see RFC 9110, section 12.5.3
 */
export function chooseEncoding<Encoding extends string>(
  accepted: string,
  offered: readonly Encoding[],
): Encoding | null {
  const weights = new Map(accepted.split(',').map(parseWeight))
  let chosen: { encoding: Encoding | null; weight: number } = { encoding: null, weight: 0 }
  for (const encoding of offered) {
    const weight = weights.get(encoding) ?? weights.get('*') ?? 0
    if (weight > chosen.weight) chosen = { encoding, weight }
  }
  return chosen.encoding
}

/** Splits `gzip;q=0.5` into name and weight; without one, the weight is 1. */
function parseWeight(item: string): [encoding: string, weight: number] {
  const [name = '', ...parameters] = item.split(';').map((part) => part.trim().toLowerCase())
  const weight = parameters.find((parameter) => parameter.startsWith('q='))
  return [name, weight === undefined ? 1 : Number(weight.slice(2)) || 0]
}
