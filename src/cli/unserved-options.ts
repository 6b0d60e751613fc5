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
      path: 'retention.automatic',
      isSet: config.retention.automatic,
      isFatal: false,
      message: 'this release keeps every operation.',
    },
  ]
  return candidates.filter(({ isSet }) => isSet)
}
