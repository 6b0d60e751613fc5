/** The settings of a bucket that a message may name. */
interface NamedBucket {
  readonly bucket: string
  readonly endpoint: string | null
  readonly region: string | null
}

/** The properties of a client library error that are used. */
interface S3Error {
  readonly name?: string
  readonly message?: string
  readonly code?: string
  readonly $metadata?: { readonly httpStatusCode?: number }
}

/** The meaning of the storage's answer for the operator, and what to do. Names no secret. */
export function describeS3Failure(error: unknown, { bucket, endpoint, region }: NamedBucket): string {
  const failure = (error ?? {}) as S3Error
  const at = endpoint === null ? 'Amazon S3' : endpoint
  const place = `Bucket "${bucket}" at ${at}`
  switch (nameOf(failure)) {
    case 'NoSuchBucket':
      return `${place} does not exist. Create it, or correct backup.s3.bucket and backup.s3.endpoint.`
    case 'NoSuchUpload':
      return `${place} has dropped the unfinished upload. It is made again.`
    case 'PreconditionFailed':
      return `${place}: the object was changed while it was read. Try again.`
    case 'NoSuchKey':
      return `${place} has no such object any more.`
    case 'InvalidAccessKeyId':
    case 'SignatureDoesNotMatch':
    case 'ExpiredToken':
    case 'InvalidToken':
      return `${place} does not accept the credentials (${failure.name}). Check the access key and its secret: ${CREDENTIALS}.`
    case 'AccessDenied':
    case 'Forbidden':
      return `${place} denies access. The credentials need the rights to list the bucket, and to get, put, delete and abort uploads of its objects.`
    case 'RequestTimeTooSkewed':
      return `${place} refuses requests because the clock of this machine is off. Correct it.`
    case 'PermanentRedirect':
    case 'AuthorizationHeaderMalformed':
    case 'IllegalLocationConstraintException':
      return `${place} is in another region than ${region ?? 'the one of the environment'}. Set backup.s3.region.`
    case 'CredentialsProviderError':
      return `${place}: there are no credentials. Set ${CREDENTIALS}.`
    case 'TimeoutError':
    case 'ECONNREFUSED':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
    case 'ECONNRESET':
    case 'EPIPE':
      return `${place} cannot be reached (${failure.code ?? failure.name}). Check backup.s3.endpoint and the network.`
    default:
      return describeOther(place, failure)
  }
}

const CREDENTIALS =
  'KORA_S3_ACCESS_KEY_ID and KORA_S3_SECRET_ACCESS_KEY, or what the AWS tools read (AWS_ACCESS_KEY_ID and others)'

function nameOf({ name, code }: S3Error): string | undefined {
  return name === undefined || name === 'Error' ? code : name
}

function describeOther(place: string, { name, message = '', $metadata }: S3Error): string {
  if (message.startsWith('Region is missing')) {
    return `${place}: the region is not known. Set backup.s3.region, or AWS_REGION.`
  }
  const status = $metadata?.httpStatusCode
  const answer = status === undefined ? '' : `answered ${status}: `
  return `${place} ${answer || 'failed: '}${name ?? 'Error'}${message === '' ? '' : `, ${message}`}`
}
