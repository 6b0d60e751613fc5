import pg from 'pg'

/** A connection string whose sessions have these settings, as if role or database had set them. */
export function withSettings(connectionString: string, settings: Readonly<Record<string, string>>): string {
  const options = Object.entries(settings).map(([name, value]) => `-c ${name}=${value}`)
  return `${connectionString}?options=${encodeURIComponent(options.join(' '))}`
}

/**
 * Resolves when PostgreSQL has ended a session that does nothing any more: what has begun before, under the same
 * settings, has then outlived their limits.
 *
 * @param begin what the session does before
 */
export async function sessionIsEnded(connectionString: string, begin = 'BEGIN'): Promise<void> {
  const client = new pg.Client({ connectionString })
  client.on('error', () => {}) // that it is ended
  await client.connect()
  const ended = new Promise<void>((resolve) => client.once('end', resolve))
  await client.query(begin)
  await ended
}
