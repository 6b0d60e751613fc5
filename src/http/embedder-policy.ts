/**
 * A value of `Cross-Origin-Embedder-Policy`: what a page may load from other origins, so that the browser isolates it.
 * `unsafe-none` isolates nothing.
 */
export type EmbedderPolicy = (typeof EMBEDDER_POLICIES)[number]

export const EMBEDDER_POLICIES = ['credentialless', 'require-corp', 'unsafe-none'] as const

/** A browser takes any other value for `unsafe-none`. */
export function isEmbedderPolicy(value: unknown): value is EmbedderPolicy {
  return EMBEDDER_POLICIES.some((policy) => policy === value)
}
