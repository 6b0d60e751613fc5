/** Path prefix of everything for operators. */
export const OPERATIONS_PREFIX = '/__kora'

const HEALTH_PATHS = ['/health', '/ready']

/** True for paths that the server answers itself, or would if they were not turned off. */
export function isOwnPath(path: string): boolean {
  return HEALTH_PATHS.includes(path) || path === OPERATIONS_PREFIX || path.startsWith(`${OPERATIONS_PREFIX}/`)
}

/** Why sync cannot be served at a path, and what to do about it; null where it can. */
export function syncPathProblem(path: string): string | null {
  const shown = JSON.stringify(path)
  if (!path.startsWith('/')) return `${shown} does not begin with "/"; write it as in "/sync"`
  if (path.includes('*'))
    return `${shown} has a "*", but clients connect to one path; choose one, such as "/sync"`
  if (!isOwnPath(path)) return null
  const own = [...HEALTH_PATHS, `all of ${OPERATIONS_PREFIX}`].join(', ')
  return `${shown} is a path of the server itself (${own}); choose another, such as "/sync"`
}
