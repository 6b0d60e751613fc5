import type { Server } from 'node:http'
import { KoraServerError } from '../core/errors.ts'

/**
 * Listens, or says why not.
 *
 * @throws KoraServerError `PORT_IN_USE`, `LISTEN_FAILED`
 */
export function listen(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException): void => reject(listenError(error, port, host))
    server.once('error', onError)
    server.listen(port, host, () => {
      server.off('error', onError)
      resolve()
    })
  })
}

function listenError(error: NodeJS.ErrnoException, port: number, host: string): KoraServerError {
  switch (error.code) {
    case 'EADDRINUSE':
      return new KoraServerError(
        'PORT_IN_USE',
        `Port ${port} on ${host} is in use by another process. Stop it, or choose another port with --port.`,
        { cause: error },
      )
    case 'EACCES':
      return new KoraServerError(
        'LISTEN_FAILED',
        `Not allowed to listen on port ${port}. Ports below 1024 need rights; choose another with --port.`,
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
