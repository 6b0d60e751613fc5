import { defineConfig } from 'kora-server'

/**
 * A configuration to begin with: SQLite, no authentication. Every key is optional; what is commented
 * out shows the most wanted ones.
 * `kora-server check --print-config` prints what is in effect and where each value comes from.
 */
export default defineConfig({
  /** Address, port and path that clients connect to. Environment: KORA_HOST, PORT, KORA_PATH. */
  host: '0.0.0.0',
  port: 4567,
  path: '/',

  /** A file beside this one. Environment: KORA_DB, or DATABASE_URL for PostgreSQL. */
  store: { driver: 'sqlite', filename: './kora-server.db', durability: 'full' },
  // store: { driver: 'postgres', connectionString: process.env.DATABASE_URL, poolSize: 10 },

  /** What the app stores. The server makes one SQL table of each collection. Environment: KORA_SCHEMA. */
  schema: './schema.ts',

  /**
   * How tokens are verified. With nothing here and no such variable set, everybody may read and write everything: for
   * development only. Environment: KORA_AUTH_SECRET for tokens of @korajs/auth, KORA_JWKS_URL for those of others.
   */
  // auth: {
  //   mode: 'jwt',
  //   jwt: { jwksUrl: 'https://auth.example.com/.well-known/jwks.json', issuer: 'https://auth.example.com' },
  //   // Each user syncs only records whose userId is the token's `sub`.
  //   scopes: { todos: { userId: '$claims.sub' }, projects: {} },
  // },

  /** Browsers of other origins are refused when this is set. */
  // http: { allowedOrigins: ['https://app.example.com'] },

  /** Bounds per connection. */
  // limits: { maxOpsPerMinute: 6000, maxOperationBytes: 262_144 },

  /** Tokens for the dashboard, metrics and backups. Environment: KORA_ADMIN_TOKEN, … */
  // admin: { adminToken: process.env.KORA_ADMIN_TOKEN },

  log: { level: 'info', format: 'auto' },
})
