export {
  KoraAuthProvider,
  type KoraAuthProviderOptions,
  type KoraTokenPayload,
  type KoraTokenValidator,
  type KoraUser,
} from './auth/kora-auth-provider.ts'
export { MixedAuthProvider, type MixedAuthProviderOptions } from './auth/mixed-auth-provider.ts'
export { NoAuthProvider } from './auth/no-auth-provider.ts'
export type { AuthContext, AuthProvider } from './auth/provider.ts'
export type { ScopeSource } from './auth/scope-templates.ts'
export { TokenAuthProvider, type TokenAuthProviderOptions } from './auth/token-auth-provider.ts'
export type { AuthVerdict } from './auth/token-verdict.ts'
export { defineConfig, type KoraConfig } from './config/define-config.ts'
export type { BlobRef } from './core/blob-ref.ts'
export {
  AuthError,
  ConfigError,
  type ErrorCode,
  KoraServerError,
  MutationError,
  ProtocolError,
  SchemaError,
  StoreError,
} from './core/errors.ts'
export type { LogFields, Logger } from './core/logger.ts'
export type { AtomicOp, JsonValue, Operation, Timestamp } from './core/operation.ts'
export type { Refusal, RefusalCode } from './core/refusal.ts'
export type { Runtime, Timer, TimerOptions } from './core/runtime.ts'
export {
  type EnumFieldBuilder,
  type FieldBuilder,
  type ObjectValue,
  type SecretFieldBuilder,
  t,
} from './core/schema/builders.ts'
export {
  defineSchema,
  type InferInsertInput,
  type InferRecord,
  type InferUpdateInput,
  type TypedSchema,
} from './core/schema/define-schema.ts'
export type { GivenSchema } from './core/schema/given-schema.ts'
export { type MigrationBuilder, migrate } from './core/schema/migration-builder.ts'
export type { SchemaDefinition } from './core/schema/types.ts'
export type { RecordInput } from './core/schema/validate-record.ts'
export type { ScopeFilter, ScopeMap } from './core/scope.ts'
export type { VersionVector } from './core/version-vector.ts'
export type { HttpRoute, HttpRouteRequest, HttpRouteResponse } from './http/app-routes.ts'
export type { AddressOf } from './http/client-address.ts'
export type { EmbedderPolicy } from './http/embedder-policy.ts'
export { createKoraServer, KoraSyncServer, type KoraSyncServerConfig } from './http/kora-sync-server.ts'
export type { OperationalAuth } from './http/operations/access.ts'
export {
  createProductionServer,
  type ProductionServer,
  type ProductionServerConfig,
} from './http/production-server.ts'
export type { ServerStatus } from './http/server-status.ts'
export type { TlsOptions } from './http/tls-files.ts'
export type { AwarenessState, AwarenessUpdateMessage, SyncMessage } from './protocol/messages.ts'
export { type BackupProgress, type CreateBackupOptions, createBackup } from './store/backup/create-backup.ts'
export { type BackupSummary, verifyBackup } from './store/backup/read-backup.ts'
export {
  type RestoreBackupOptions,
  type RestoreProgress,
  type RestoreResult,
  restoreBackup,
} from './store/backup/restore-backup.ts'
export { MemoryServerStore, type MemoryServerStoreOptions } from './store/memory/memory-store.ts'
export type { PostgresServerStoreOptions } from './store/postgres/options.ts'
export { createPostgresServerStore, PostgresServerStore } from './store/postgres/postgres-store.ts'
export type { ImportBackupOptions, RestoreMode } from './store/restore.ts'
export {
  createSqliteServerStore,
  SqliteServerStore,
  type SqliteServerStoreOptions,
} from './store/sqlite/sqlite-store.ts'
export type {
  ApplyResult,
  CollectionQueryOptions,
  MaterializedRecord,
  RunningServer,
  SchemaPlan,
  SchemaProgress,
  SequencedOperation,
  ServerStore,
  SetSchemaOptions,
  UnmetCondition,
} from './store/store.ts'
export type {
  ConditionalMutation,
  ConditionalResult,
  Kora,
  Mutation,
  MutationResult,
} from './sync/data-plane.ts'
export type { SyncLimits, ValidateOperation, ValidationContext, ValidationVerdict } from './sync/options.ts'
export { type AwarenessClientId, AwarenessRelay } from './sync/relays/awareness-relay.ts'
export type { ServerTransport } from './sync/transport.ts'
export type { HttpSyncRequest, HttpSyncResponse } from './transport/http-sync.ts'
