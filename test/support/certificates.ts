import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** As `tls` of the configuration. */
export interface Certificate {
  readonly certFile: string
  readonly keyFile: string
}

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']

/** Certificates in a folder, made by openssl; each name is that of its files, and what it is for unless told otherwise. */
export class Certificates {
  readonly #directory: string

  constructor(directory: string) {
    this.#directory = directory
  }

  signedByItself(name: string, subject = name): Certificate {
    const { certFile, keyFile } = this.#files(name)
    openssl(
      'req',
      '-x509',
      ...KEY,
      '-days',
      '1',
      '-subj',
      `/CN=${subject}`,
      '-keyout',
      keyFile,
      '-out',
      certFile,
    )
    return { certFile, keyFile }
  }

  /** One that may itself issue others. */
  intermediate(issuer: Certificate, name: string): Certificate {
    return this.issuedBy(issuer, name, name, 'basicConstraints=critical,CA:TRUE')
  }

  issuedBy(
    issuer: Certificate,
    name: string,
    subject = name,
    extension = 'basicConstraints=CA:FALSE',
  ): Certificate {
    const { certFile, keyFile, requestFile, extensionFile } = this.#files(name)
    writeFileSync(extensionFile, extension)
    openssl('req', ...KEY, '-subj', `/CN=${subject}`, '-keyout', keyFile, '-out', requestFile)
    const by = ['-CA', issuer.certFile, '-CAkey', issuer.keyFile, '-CAcreateserial']
    openssl(
      'x509',
      '-req',
      '-in',
      requestFile,
      ...by,
      '-days',
      '1',
      '-extfile',
      extensionFile,
      '-out',
      certFile,
    )
    return { certFile, keyFile }
  }

  /** The same with its issuer behind it in the file, as issuers hand it out. */
  withChain({ certFile, keyFile }: Certificate, issuer: Certificate): Certificate {
    const chainFile = `${certFile}.chain`
    writeFileSync(chainFile, readFileSync(certFile, 'utf8') + readFileSync(issuer.certFile, 'utf8'))
    return { certFile: chainFile, keyFile }
  }

  /** One that was made before. */
  find(name: string): Certificate {
    const { certFile, keyFile } = this.#files(name)
    return { certFile, keyFile }
  }

  #files(name: string): Certificate & { requestFile: string; extensionFile: string } {
    const at = (extension: string) => join(this.#directory, `${name}.${extension}`)
    return { certFile: at('pem'), keyFile: at('key'), requestFile: at('csr'), extensionFile: at('ext') }
  }
}

function openssl(...args: readonly string[]): void {
  execFileSync('openssl', args, { stdio: 'pipe' })
}
