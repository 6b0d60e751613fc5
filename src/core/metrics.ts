/** A metric: its name, what it counts, and what an operator does when it moves. */
export interface MetricDefinition {
  readonly name: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly unit: 'seconds' | 'bytes' | 'operations' | 'entries' | 'sessions' | 'views' | 'states' | 'none'
  readonly help: string
  /** Label → the values that it may have. Clients cannot add any. */
  readonly labels?: { readonly [label: string]: string }
  /** Upper bounds of a histogram's buckets. */
  readonly buckets?: readonly number[]
  /** When to look at the metric, and what to do then. */
  readonly advice: string
}

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30] as const

/** Every metric, once. Registration and docs/metrics.md follow from this table. */
export const METRICS = {
  info: {
    name: 'kora_info',
    type: 'gauge',
    unit: 'none',
    help: 'Always 1; its label tells the release.',
    labels: { version: 'release of kora-server' },
    advice: 'Two values at once: a rolling update is under way, or stuck.',
  },
  ready: {
    name: 'kora_ready',
    type: 'gauge',
    unit: 'none',
    help: '1 while the server does its work, else 0; the same answer as GET /ready.',
    advice: '0 for longer than a minute: GET /ready says why.',
  },
  operations: {
    name: 'kora_operations_total',
    type: 'counter',
    unit: 'operations',
    help: 'Operations received or written by the application, by what became of them.',
    labels: { outcome: '`applied`, `duplicate`, `refused`, `ignored`, `failed`' },
    advice:
      '`failed` rises: the store cannot commit, see its error in the log. `refused` rises: see the codes. Many ' +
      '`duplicate`: clients send again because acknowledgments reach them late.',
  },
  operationsRefused: {
    name: 'kora_operations_refused_total',
    type: 'counter',
    unit: 'operations',
    help: 'Operations of clients that were refused, by code.',
    labels: { code: 'a code of docs/protocol.md, or `application` for those of validateOperation' },
    advice:
      'Rises after a release of the app: its operations do not fit the schema, the scopes or the limits.',
  },
  operationsDelivered: {
    name: 'kora_operations_delivered_total',
    type: 'counter',
    unit: 'operations',
    help: 'Operations sent to clients, each time for each of them.',
    advice: 'Far above received times devices per view: clients are sent the same again and again.',
  },
  operationIdMismatches: {
    name: 'kora_operation_id_mismatches_total',
    type: 'counter',
    unit: 'operations',
    help: 'Operations whose id is not the hash of what arrived.',
    advice: 'Some are normal for old clients; many from new ones point to a broken or forged client.',
  },
  commitDuration: {
    name: 'kora_commit_duration_seconds',
    type: 'histogram',
    unit: 'seconds',
    help: 'How long a transaction of the store took.',
    buckets: SECONDS,
    advice: 'Its p99 rises: the disk or the database is slow or shared. Every acknowledgment waits for it.',
  },
  groupOperations: {
    name: 'kora_commit_operations',
    type: 'histogram',
    unit: 'operations',
    help: 'Operations that shared one transaction.',
    buckets: [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000],
    advice: 'Near 500 all the time: the store is the bottleneck; a faster disk helps, more clients do not.',
  },
  acknowledgmentDuration: {
    name: 'kora_acknowledgment_duration_seconds',
    type: 'histogram',
    unit: 'seconds',
    help: 'From the arrival of a batch to its acknowledgment.',
    buckets: SECONDS,
    advice: 'Above the commit time: batches wait for the rate limit, the queue, or validateOperation.',
  },
  sessions: {
    name: 'kora_sessions',
    type: 'gauge',
    unit: 'sessions',
    help: 'Open connections by state.',
    labels: { state: '`connected`, `authenticating`, `syncing`, `streaming`' },
    advice:
      'Many `connected`: somebody opens connections and says nothing. Many `authenticating`: the auth provider is ' +
      'slow. Many `syncing`: a restart, or clients whose catch-up never ends.',
  },
  sessionsOpened: {
    name: 'kora_sessions_opened_total',
    type: 'counter',
    unit: 'sessions',
    help: 'Connections accepted since the start.',
    advice: 'Rises fast while the number of sessions does not: clients reconnect in a loop.',
  },
  sessionsFailed: {
    name: 'kora_sessions_failed_total',
    type: 'counter',
    unit: 'sessions',
    help: 'Connections that the server ended with an error, by code.',
    labels: { code: 'a code of docs/protocol.md, "Closing"' },
    advice:
      '`AUTH_FAILED`: keys, clocks, or code of the app that throws. `AUTH_UNAVAILABLE`: the JWKS. `SLOW_CONSUMER`: clients that do not read. `SCHEMA_MISMATCH`: an app of a version ' +
      'that `supportedSchemaVersions` leaves out. `SYNC_ERROR`: a defect, its stack ' +
      'is in the log. `MAX_CONNECTIONS`: raise the limit or add servers.',
  },
  deliveryLag: {
    name: 'kora_delivery_lag_entries',
    type: 'gauge',
    unit: 'entries',
    help: 'Committed entries that the session furthest behind has not been sent.',
    advice: 'Grows without end: one client reads slower than others write; it is cut off in the end.',
  },
  deliveryWait: {
    name: 'kora_delivery_unacknowledged_seconds',
    type: 'gauge',
    unit: 'seconds',
    help: 'The longest time for which a session has acknowledged nothing of what it was sent.',
    advice:
      'At 15 s that session is sent everything again, and at 30 s it is closed: above 20 s, sending again did not help.',
  },
  deliverySequence: {
    name: 'kora_delivery_sequence',
    type: 'gauge',
    unit: 'entries',
    help: 'Delivery sequence of the newest entry that this server has read.',
    advice: 'Differs between servers of one database for more than a moment: one does not hear of commits.',
  },
  feedBytes: {
    name: 'kora_feed_bytes',
    type: 'gauge',
    unit: 'bytes',
    help:
      'Newest operations that may be kept in memory for delivery, until all that see them have been sent them; bounded ' +
      'by limits.maxFeedBytes. Up to as much again, 4 MiB at most, may stay in memory for up to a second longer, ' +
      'which is not counted.',
    advice: 'Full is normal. Full within seconds: clients a little behind must read the store.',
  },
  ingestQueuedBytes: {
    name: 'kora_ingest_queued_bytes',
    type: 'gauge',
    unit: 'bytes',
    help: 'Operations that wait to be written; sockets are paused at limits.maxQueuedBytes.',
    advice: 'Stays high: more is written than the store can take.',
  },
  bufferedBytes: {
    name: 'kora_session_buffered_bytes',
    type: 'gauge',
    unit: 'bytes',
    help:
      'What clients have not read of what was sent, of all sessions together: its bytes, and 1,000 for each message, ' +
      'which is about what one takes in memory beside them.',
    advice: 'Grows with the memory of the process: slow networks; lower limits.maxBufferedBytes.',
  },
  views: {
    name: 'kora_views',
    type: 'gauge',
    unit: 'views',
    help: 'Different combinations of scope and queries in use; sessions with the same one share it.',
    advice: 'As many as sessions: nothing is shared; fewer different scopes make delivery cheaper.',
  },
  presence: {
    name: 'kora_presence_states',
    type: 'gauge',
    unit: 'states',
    help: 'Sessions of this server that show presence now.',
    advice: 'More than users online: clients do not withdraw it.',
  },
  storeBytes: {
    name: 'kora_store_bytes',
    type: 'gauge',
    unit: 'bytes',
    help: 'Size of the database; absent where the store cannot tell, or does not answer.',
    advice: 'Plan the disk by its slope; `kora-server compact` drops what no client needs.',
  },
  logOperations: {
    name: 'kora_log_operations',
    type: 'gauge',
    unit: 'operations',
    help: 'Operations in the log; absent while the store does not answer.',
    advice: 'Grows while nobody works: a client writes in a loop.',
  },
  compactionDropped: {
    name: 'kora_compaction_dropped_operations_total',
    type: 'counter',
    unit: 'operations',
    help: 'Operations that this server dropped by itself because later ones supersede them.',
    advice:
      'Stays at 0 with `retention.automatic`: nothing is older than `retention.keepFor`, or another server does it.',
  },
  compactionDuration: {
    name: 'kora_compaction_duration_seconds',
    type: 'gauge',
    unit: 'seconds',
    help: 'How long the last compaction of this server took.',
    advice: 'As long as `retention.every`: make that longer.',
  },
  compactionLastSuccess: {
    name: 'kora_compaction_last_success_timestamp_seconds',
    type: 'gauge',
    unit: 'seconds',
    help: 'When this server last finished a compaction, in seconds since the epoch; 0 before the first.',
    advice: 'Old on every server while `retention.automatic` is set: see `compaction failed` in the log.',
  },
  eventLoopDelay: {
    name: 'kora_event_loop_delay_seconds',
    type: 'gauge',
    unit: 'seconds',
    help: 'How late timers ran since the last scrape.',
    labels: { quantile: '`0.5`, `0.99`, `1`' },
    advice:
      'p99 above 0.1: the process has too much to do; add servers, or look for a slow validateOperation.',
  },
} as const satisfies { readonly [id: string]: MetricDefinition }

export type MetricId = keyof typeof METRICS
