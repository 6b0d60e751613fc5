import type { Server } from 'node:http'
import { KoraServerError } from '../core/errors.ts'

export interface ListenPlace {
  readonly host: string
  /** 0: any free port */
  readonly port: number
  /**
   * The option by which an operator sets the port, named in the error where it cannot be had. Absent: a program
   * sets it.
   */
  readonly portOption?: string
}

/**
 * Starts to listen.
 *
 * @throws KoraServerError `PORT_IN_USE`, `LISTEN_FAILED`
 */
export function listen(server: Server, place: ListenPlace): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException): void => reject(listenError(error, place))
    server.once('error', onError)
    server.listen(place.port, place.host, () => {
      server.off('error', onError)
      resolve()
    })
  })
}

function listenError(error: NodeJS.ErrnoException, { host, port, portOption }: ListenPlace): KoraServerError {
  const choice = `choose another port${portOption === undefined ? '' : ` with ${portOption}`}`
  switch (error.code) {
    case 'EADDRINUSE':
      return new KoraServerError(
        'PORT_IN_USE',
        `Port ${port} on ${host} is in use by another process. Stop it, or ${choice}.`,
        { cause: error },
      )
    case 'EACCES':
      return new KoraServerError(
        'LISTEN_FAILED',
        `Not allowed to listen on port ${port}. Ports below 1024 need rights; ${choice}.`,
        { cause: error },
      )
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return new KoraServerError(
        'LISTEN_FAILED',
        `Cannot listen on ${host}: this machine has no such address. Use one of its own, or 0.0.0.0 for all of them.`,
        { cause: error },
      )
    default:
      return new KoraServerError(
        'LISTEN_FAILED',
        `Cannot listen on ${host}:${port} (${error.code ?? error.message}). Check host and port.`,
        { cause: error },
      )
  }
}
