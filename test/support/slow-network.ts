import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server } from 'node:net'

const READ_EVERY_MS = 50

/** A network that takes no more than this much a second from the server at a port; the rest stays with the server. */
export async function openSlowNetwork(port: number, bytesPerSecond: number): Promise<SlowNetwork> {
  const server = createServer((client) => {
    const upstream = connect(port, '127.0.0.1')
    upstream.on('readable', () => {}) // it is read below, and not when there is something
    const reading = setInterval(() => {
      const bytes = upstream.read((bytesPerSecond * READ_EVERY_MS) / 1000) ?? upstream.read()
      if (bytes !== null) client.write(bytes)
    }, READ_EVERY_MS)
    client.pipe(upstream)
    const end = (): void => {
      clearInterval(reading)
      client.destroy()
      upstream.destroy()
    }
    for (const socket of [client, upstream]) socket.on('error', end).on('close', end)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return new SlowNetwork(server)
}

export class SlowNetwork implements Disposable {
  readonly #server: Server

  constructor(server: Server) {
    this.#server = server
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  [Symbol.dispose](): void {
    this.#server.close()
  }
}
