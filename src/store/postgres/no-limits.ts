/** Lifts the limits of role and database in a transaction whose statements, and the time between them, may be long. */
export const NO_LIMITS =
  'SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; ' +
  noTransactionTimeout({ isLocal: true })

/** The same as `NO_LIMITS`, for a session whose statements are transactions of their own. */
export const NO_SESSION_LIMITS = `SET statement_timeout = 0; ${noTransactionTimeout({ isLocal: false })}`

/** The same as `NO_LIMITS`, for a transaction that only holds a lock; waiting for the lock stays limited. */
export const NO_HOLD_LIMITS = `SET LOCAL idle_in_transaction_session_timeout = 0; ${noTransactionTimeout({ isLocal: true })}`

/** The setting exists since PostgreSQL 17. Within a transaction it counts from the change on. */
function noTransactionTimeout({ isLocal }: { isLocal: boolean }): string {
  const name = "'transaction_timeout'"
  return `SELECT set_config(${name}, '0', ${isLocal}) WHERE current_setting(${name}, true) IS NOT NULL`
}
