/**
 * The states of a session, and the events that lead from one to the next.
 *
 * ```
 *            handshake           accepted              initial stream sent
 * connected ───────────▶ authenticating ───────▶ syncing ───────▶ streaming
 *     │                        │                    │                 │
 *     └────────────────────────┴───── closed ◀──────┴─────────────────┘
 * ```
 * Before `syncing`, only a handshake is processed; after `closed`, nothing is.
 */
export type SessionState = 'connected' | 'authenticating' | 'syncing' | 'streaming' | 'closed'
