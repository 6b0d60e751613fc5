import { isIPv6 } from 'node:net'

/** The form of an IPv4 address on a dual-stack socket. */
const MAPPED_IPV4 = /^::ffff:(\d{1,3}(?:\.\d{1,3}){3})$/

/**
 * The key by which limits per address count: the address or, for IPv6, its /64, because a household gets a whole
 * one. An IPv4 address counts as itself in its IPv6 form too (`::ffff:1.2.3.4`). Text that is not an address counts
 * as it is.
 *
 * @see RFC 6177, section 2; RFC 4291, section 2.5.5.2
 */
export function networkOf(address: string): string {
  // Node's check is a regular expression that takes milliseconds to compile, and the first client would wait for
  // it.
  if (!address.includes(':')) return address
  const mapped = MAPPED_IPV4.exec(address)
  if (mapped?.[1] !== undefined) return mapped[1]
  if (!isIPv6(address)) return address
  const groups = groupsOf(address)
  return isMappedIPv4(groups)
    ? groups.slice(6).flatMap(bytesOf).join('.')
    : groups
        .slice(0, 4)
        .map((group) => group.toString(16))
        .join(':')
}

/** The eight numbers of a valid address, whatever form it is written in. */
function groupsOf(address: string): number[] {
  const [plain = ''] = address.split('%', 1) // followed by an interface of this machine
  const [head = [], tail = []] = plain
    .split('::')
    .map((part) => (part === '' ? [] : part.split(':').flatMap(numbersOf)))
  return [...head, ...Array<number>(8 - head.length - tail.length).fill(0), ...tail]
}

/** The number of one group, or the two numbers of an IPv4 address at the end. */
function numbersOf(text: string): number[] {
  if (!text.includes('.')) return [Number.parseInt(text, 16)]
  const [a = 0, b = 0, c = 0, d = 0] = text.split('.').map(Number)
  return [a * 256 + b, c * 256 + d]
}

function isMappedIPv4(groups: readonly number[]): boolean {
  return groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff
}

function bytesOf(group: number): number[] {
  return [group >> 8, group & 0xff]
}
