/** The bytes of a blob's hash, as the tables of blobs hold it. */
export function hashToBytes(hash: string): Buffer {
  return Buffer.from(hash, 'hex')
}
