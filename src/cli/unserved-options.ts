import type { ServerConfig } from '../config/server-config.ts'

/** A setting that the configuration may hold and that this release does not act upon. */
export interface UnservedOption {
  readonly path: string
  readonly message: string
  /** True when to start without it would be worse than not to start. */
  readonly isFatal: boolean
}

/** Says so before anyone relies on such a setting. */
export function findUnservedOptions(config: ServerConfig): UnservedOption[] {
  const candidates: (UnservedOption & { readonly isSet: boolean })[] = [
    {
      path: 'tls',
      isSet: config.tls !== null,
      isFatal: true, // clients would be served in the clear
      message: 'this release does not serve TLS by itself. Remove it, and put a proxy in front that does.',
    },
    {
      path: 'http.staticDir',
      isSet: config.http.staticDir !== null,
      isFatal: false,
      message: 'this release of the command serves no static files.',
    },
    {
      path: 'http.trustProxy',
      isSet: config.http.trustProxy.length > 0,
      isFatal: false,
      message: 'this release takes the address of the socket for that of the client.',
    },
    {
      path: 'admin',
      isSet: Object.values(config.admin).some((value) => value !== null),
      isFatal: false,
      message: 'this release has no endpoints for operators yet.',
    },
    {
      path: 'retention.automatic',
      isSet: config.retention.automatic,
      isFatal: false,
      message: 'this release keeps every operation.',
    },
  ]
  return candidates.filter(({ isSet }) => isSet)
}
