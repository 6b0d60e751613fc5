/** True for text that is meant as the URL of a PostgreSQL database, whether or not it parses. */
export function isPostgresUrl(text: string): boolean {
  return /^postgres(ql)?:\/\//i.test(text)
}

/** Why a PostgreSQL URL cannot be used; null when it can. Never quotes the URL. */
export function postgresUrlProblem(text: string): string | null {
  if (hasSeveralHosts(text)) return 'names several hosts, which is not supported; name one'
  const url = parsePostgresUrl(text)
  if (url === null) return 'does not parse; in a user name or password, write / ? # @ as %2F %3F %23 %40'
  return isDecodable(url)
    ? null
    : 'holds a % that does not start an escape of UTF-8 text; write the % itself as %25'
}

/** Removes the credentials from a database URL; `***` for one that does not parse. */
export function maskPostgresUrl(text: string): string {
  const url = parsePostgresUrl(text)
  if (url === null) return '***'
  const { protocol, username, host, pathname } = url
  const user = username === '' ? '' : `${username}:***@`
  return `${protocol}//${user}${host === SOCKET ? '' : host}${pathname}`
}

/** Host and name of a database, for messages; null where the URL cannot be used. */
export function databaseOfPostgresUrl(text: string): string | null {
  const url = parsePostgresUrl(text)
  if (url === null) return null
  const host = url.host === '' || url.host === SOCKET ? 'localhost' : url.host
  return `${host}${url.pathname}`
}

const SOCKET = 'socket' // stands in for a missing host

/**
 * Parses a URL as `pg` does, for which an empty host after a user name means a socket. A password with a "/" would
 * end the host too early, and the rest of it, up to its "@", would be taken for the path and shown.
 */
function parsePostgresUrl(text: string): URL | null {
  const candidate = [text, text.replace('@/', `@${SOCKET}/`)].find((each) => URL.canParse(each))
  if (candidate === undefined) return null
  const url = new URL(candidate)
  return `${url.pathname}${url.hash}`.includes('@') || hasStrayAt(url) ? null : url
}

/**
 * The user, what may be a list of hosts, and the rest. An "@" in the rest means that it starts with part of a
 * password.
 */
const AUTHORITY = /^\w+:\/\/(?:[^/?#]*@)?([^/?#]*)([^@]*)$/

/**
 * True for a list of hosts, which `libpq` tries one after the other. `pg` would look up the whole list as one host
 * name.
 */
function hasSeveralHosts(text: string): boolean {
  const [, hosts = '', rest = ''] = AUTHORITY.exec(text) ?? []
  const parameter = /[?&]host=([^&#]*)/.exec(rest)?.[1] ?? ''
  return [hosts, parameter].some((each) => each.includes(','))
}

/** False where `pg` would throw because it decodes these parts. */
function isDecodable({ username, password, hostname, pathname }: URL): boolean {
  try {
    for (const part of [username, password, hostname, pathname]) decodeURIComponent(part)
    return true
  } catch {
    return false
  }
}

/** Query parameters that `pg` reads, whose values may well contain an "@". */
const PARAMETER =
  /^(user|password|host|application_name|fallback_application_name|options|sslcert|sslkey|sslrootcert)=/

/**
 * True for an "@" in the query that ends a password containing a "?", rather than being part of a parameter's
 * value.
 */
function hasStrayAt({ username, password, search }: URL): boolean {
  const parameter = username === '' && password === '' ? PARAMETER : /^\w+=/
  return search
    .slice(1)
    .split('&')
    .some((each) => each.includes('@') && !parameter.test(each))
}
