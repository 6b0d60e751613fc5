import type { ListenPlace } from './listen.ts'

/** `http://host:port` as reached from the machine itself: a server that listens at every address is `localhost`. */
export function listenerOrigin({ host, port }: ListenPlace, isTls: boolean): string {
  const reached = host === '0.0.0.0' || host === '::' ? 'localhost' : host
  return `${isTls ? 'https' : 'http'}://${reached.includes(':') ? `[${reached}]` : reached}:${port}`
}
