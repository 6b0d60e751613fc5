import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import proxyaddr from '@fastify/proxy-addr'

/** The address of the client that has sent a request, by which connections are counted and logged. */
export type AddressOf = (request: IncomingMessage) => string

/**
 * The address of the client as far as it can be believed: that of the socket, and where the socket
 * belongs to a trusted proxy, the last address in `X-Forwarded-For` that no trusted proxy wrote.
 *
 * @param trustProxy addresses and CIDR ranges of the proxies; empty: the header counts nothing
 */
export function clientAddress(trustProxy: readonly string[]): AddressOf {
  if (trustProxy.length === 0) return socketAddress
  const isTrusted = proxyaddr.compile([...trustProxy])
  return (request) => {
    const socket = socketAddress(request)
    // The header is text of whoever wrote it: what is no address is taken for none.
    if (isIP(socket) === 0) return socket
    const forwarded = proxyaddr(request, isTrusted)
    return isIP(forwarded) === 0 ? socket : plainAddress(forwarded)
  }
}

/** The address at the other end of the connection, '' once it is gone: behind a proxy, that of the proxy. */
export function socketAddress(request: IncomingMessage): string {
  return plainAddress(request.socket.remoteAddress ?? '')
}

/** An IPv4 address in its own form, also where a dual-stack socket shows it as IPv6. */
function plainAddress(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  return mapped?.[1] ?? address
}
