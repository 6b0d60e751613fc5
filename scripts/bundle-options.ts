import type { BuildOptions } from 'esbuild'

/**
 * How the server is bundled: for the package, and for the benchmarks, which measure it as it is published. Node needs
 * less time to load a few files than the three hundred of the sources. What is loaded only when it is needed stays a
 * file of its own, and libraries stay where npm puts them.
 */
export const BUNDLE_OPTIONS = {
  bundle: true,
  splitting: true,
  chunkNames: 'chunks/[name]-[hash]',
  packages: 'external',
  platform: 'node',
  target: 'node20.19',
  format: 'esm',
  charset: 'utf8',
  logLevel: 'warning',
} as const satisfies BuildOptions
