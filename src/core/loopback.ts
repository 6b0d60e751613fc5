import { BlockList, isIP } from 'node:net'

const LOOPBACK = new BlockList()
LOOPBACK.addSubnet('127.0.0.0', 8)
LOOPBACK.addAddress('::1', 'ipv6')

/**
 * True for the names and addresses of this machine itself, as settings, URLs and sockets write them:
 * with or without brackets, and for an IPv4 address also in its IPv6 form, which dual-stack sockets show.
 */
export function isLoopback(host: string): boolean {
  const address = host.replace(/^\[(.*)\]$/, '$1')
  if (address.includes('%')) return false // of one network interface; a BlockList refuses to look at it
  switch (isIP(address)) {
    case 4:
      return LOOPBACK.check(address)
    case 6:
      return LOOPBACK.check(address, 'ipv6')
    default:
      return address.toLowerCase() === 'localhost'
  }
}
