/**
 * The states of a session, and what leads from one to the next.
 *
 * ```
 *            handshake           accepted              initial stream sent
 * connected ───────────▶ authenticating ───────▶ syncing ───────▶ streaming
 *     │                        │                    │                 │
 *     └────────────────────────┴───── closed ◀──────┴─────────────────┘
 * ```
 * Nothing but a handshake is processed before `syncing`; nothing at all after `closed`.
 */
export type SessionState = 'connected' | 'authenticating' | 'syncing' | 'streaming' | 'closed'
