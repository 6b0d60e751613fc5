import { isIPv6 } from 'node:net'

/** As sockets write it that take both. */
const MAPPED_IPV4 = /^::ffff:(\d{1,3}(?:\.\d{1,3}){3})$/

/**
 * What a limit for each address counts by: the address, but of IPv6 its /64, as a home is given a whole one. An IPv4
 * address counts as itself in IPv6, too (`::ffff:1.2.3.4`), and text that is no address by what it is.
 *
 * @see RFC 6177, section 2; RFC 4291, section 2.5.5.2
 */
export function networkOf(address: string): string {
  // Node's check is a regular expression that takes milliseconds to compile, which the first client would wait for.
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

/** The eight numbers of a valid address, in whichever form it is written. */
function groupsOf(address: string): number[] {
  const [plain = ''] = address.split('%', 1) // behind it stands an interface of this machine
  const [head = [], tail = []] = plain
    .split('::')
    .map((part) => (part === '' ? [] : part.split(':').flatMap(numbersOf)))
  return [...head, ...Array<number>(8 - head.length - tail.length).fill(0), ...tail]
}

/** One group, or the two that an IPv4 address at the end stands for. */
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
