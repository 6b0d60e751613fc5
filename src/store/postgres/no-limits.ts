/** Takes the limits of role and database from a transaction whose statements, and what is between them, may take long. */
export const NO_LIMITS =
  'SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; ' +
  noTransactionTimeout({ isLocal: true })

/** As `NO_LIMITS`, for a session whose statements are transactions of their own. */
export const NO_SESSION_LIMITS = `SET statement_timeout = 0; ${noTransactionTimeout({ isLocal: false })}`

/** As `NO_LIMITS`, for a transaction that does nothing but hold a lock; the wait for that stays bounded. */
export const NO_HOLD_LIMITS = `SET LOCAL idle_in_transaction_session_timeout = 0; ${noTransactionTimeout({ isLocal: true })}`

/** The setting exists from PostgreSQL 17 on. Within a transaction it counts from the change on. */
function noTransactionTimeout({ isLocal }: { isLocal: boolean }): string {
  const name = "'transaction_timeout'"
  return `SELECT set_config(${name}, '0', ${isLocal}) WHERE current_setting(${name}, true) IS NOT NULL`
}
