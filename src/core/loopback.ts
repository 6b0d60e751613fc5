import { BlockList, isIP } from 'node:net'

const LOOPBACK = new BlockList()
LOOPBACK.addSubnet('127.0.0.0', 8)
LOOPBACK.addAddress('::1', 'ipv6')

/**
 * True for the names and addresses of this machine itself, in the forms of settings, URLs and sockets: with or
 * without brackets, and an IPv4 address also in the IPv6 form of dual-stack sockets.
 */
export function isLoopback(host: string): boolean {
  const address = host.replace(/^\[(.*)\]$/, '$1')
  if (address.includes('%')) return false // a zone id of one network interface, which a BlockList refuses to look at
  switch (isIP(address)) {
    case 4:
      return LOOPBACK.check(address)
    case 6:
      return LOOPBACK.check(address, 'ipv6')
    default:
      return address.toLowerCase() === 'localhost'
  }
}
