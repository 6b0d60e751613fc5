import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import proxyaddr from '@fastify/proxy-addr'

/** Returns the address of the client that sent a request, by which connections are counted and logged. */
export type AddressOf = (request: IncomingMessage) => string

/**
 * The address of the client, as far as it can be trusted: that of the socket or, where the socket belongs to a
 * trusted proxy, the last address in `X-Forwarded-For` that no trusted proxy wrote.
 *
 * @param trustProxy addresses and CIDR ranges of the proxies; empty: the header is ignored
 */
export function clientAddress(trustProxy: readonly string[]): AddressOf {
  if (trustProxy.length === 0) return socketAddress
  const isTrusted = proxyaddr.compile([...trustProxy])
  return (request) => {
    const socket = socketAddress(request)
    // The header may contain anything: a text that is not an address is ignored.
    if (isIP(socket) === 0) return socket
    const forwarded = proxyaddr(request, isTrusted)
    return isIP(forwarded) === 0 ? socket : plainAddress(forwarded)
  }
}

/** The address at the other end of the connection, '' once it is gone: behind a proxy, that of the proxy. */
export function socketAddress(request: IncomingMessage): string {
  return plainAddress(request.socket.remoteAddress ?? '')
}

/** Shows an IPv4 address in its own form, even where a dual-stack socket has it as IPv6. */
function plainAddress(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  return mapped?.[1] ?? address
}
