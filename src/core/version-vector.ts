/**
 * Node id → highest sequence number. Missing means 0.
 * @see docs/protocol.md, "Version vectors"
 */
export type VersionVector = ReadonlyMap<string, number>
