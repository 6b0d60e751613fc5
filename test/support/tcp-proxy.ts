import { createServer, type Server, Socket } from 'node:net'

export interface ProxyTarget {
  readonly port: number
  readonly host?: string
}

/**
 * A plain TCP proxy, as a load balancer without any knowledge of what passes: connections go to the
 * targets in turn, and to the next one where one does not answer. The network can be made worse.
 */
export async function openTcpProxy(targets: readonly ProxyTarget[]): Promise<TcpProxy> {
  const proxy = new TcpProxy(targets)
  await proxy.listen()
  return proxy
}

export class TcpProxy implements AsyncDisposable {
  /** Where new connections go. */
  targets: readonly ProxyTarget[]
  /** ms that everything takes longer, in each direction. */
  delayMs = 0
  readonly #server: Server
  readonly #pairs = new Set<Pair>()
  #isHalfOpen = false
  #turn = 0

  constructor(targets: readonly ProxyTarget[]) {
    this.targets = targets
    this.#server = createServer({ allowHalfOpen: true }, (client) => void this.#connect(client))
  }

  get port(): number {
    const address = this.#server.address()
    return typeof address === 'object' && address !== null ? address.port : 0
  }

  get connectionCount(): number {
    return this.#pairs.size
  }

  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.on('error', reject)
      this.#server.listen(0, '127.0.0.1', resolve)
    })
  }

  /** Ends all connections at once, as a proxy that restarts. */
  cut(): void {
    for (const pair of [...this.#pairs]) pair.destroy()
  }

  /** Nothing passes any more, and nobody is told: as when a cable is pulled. New connections hang too. */
  set isHalfOpen(isHalfOpen: boolean) {
    this.#isHalfOpen = isHalfOpen
    for (const pair of this.#pairs) pair.setPassing(!isHalfOpen)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }

  async #connect(client: Socket): Promise<void> {
    client.on('error', () => client.destroy())
    for (let attempt = 0; attempt < this.targets.length; attempt++) {
      const target = this.targets[this.#turn++ % this.targets.length]
      const upstream = target && (await connectTo(target))
      if (upstream === null || upstream === undefined) continue
      const pair = new Pair(client, upstream, () => this.delayMs)
      this.#pairs.add(pair)
      pair.onClosed(() => this.#pairs.delete(pair))
      pair.setPassing(!this.#isHalfOpen)
      return
    }
    client.destroy()
  }
}

/** Two sockets that pass on to each other what they receive. */
class Pair {
  readonly #client: Socket
  readonly #upstream: Socket
  readonly #delayMs: () => number
  #isPassing = true

  constructor(client: Socket, upstream: Socket, delayMs: () => number) {
    this.#client = client
    this.#upstream = upstream
    this.#delayMs = delayMs
    this.#forward(client, upstream)
    this.#forward(upstream, client)
  }

  onClosed(listener: () => void): void {
    for (const socket of [this.#client, this.#upstream]) {
      socket.on('close', () => {
        this.destroy()
        listener()
      })
    }
  }

  setPassing(isPassing: boolean): void {
    this.#isPassing = isPassing
    for (const socket of [this.#client, this.#upstream]) {
      if (isPassing) socket.resume()
      else socket.pause()
    }
  }

  destroy(): void {
    this.#client.destroy()
    this.#upstream.destroy()
  }

  #forward(from: Socket, to: Socket): void {
    const waiting: { readonly at: number; readonly action: () => void }[] = []
    const pass = (): void => {
      for (let next = waiting[0]; next !== undefined && next.at <= performance.now(); next = waiting[0]) {
        waiting.shift()
        next.action()
      }
      const next = waiting[0]
      if (next !== undefined) setTimeout(pass, next.at - performance.now())
    }
    /** Nothing overtakes what went before it, however the delay changes. */
    const later = (action: () => void): void => {
      const delayMs = this.#delayMs()
      if (delayMs === 0 && waiting.length === 0) action()
      else if (waiting.push({ at: performance.now() + delayMs, action }) === 1) pass()
    }
    from.on('data', (data) => later(() => to.write(data)))
    from.on('end', () => later(() => this.#isPassing && to.end()))
    from.on('error', () => this.destroy())
  }
}

function connectTo({ port, host = '127.0.0.1' }: ProxyTarget): Promise<Socket | null> {
  return new Promise((resolve) => {
    const socket = new Socket({ allowHalfOpen: true })
    const onFailed = (): void => resolve(null)
    socket.once('error', onFailed)
    socket.connect(port, host, () => {
      socket.off('error', onFailed)
      resolve(socket)
    })
  })
}
