import type { ServerConfig } from '../../config/server-config.ts'
import { StoreError } from '../../core/errors.ts'
import type { Damage, DamageProgress, DamageSearchResult } from '../../store/damage/damage.ts'
import type { ServerStore } from '../../store/store.ts'
import { describeStore } from '../describe-config.ts'
import { openStoredLog } from '../open-store.ts'
import { formatQuantity } from '../output/format.ts'
import { ProgressBar } from '../output/progress-bar.ts'
import type { Terminal } from '../terminal.ts'
import { type Finding, failure, ok, warning } from './finding.ts'

const MAX_NAMED = 100 // more of the same tells nobody more
const LABELS = { database: 'looking at the database', log: 'reading the log', records: 'replaying records' }

/** Reads all that is stored and names what is damaged. */
export async function probeDamage(config: ServerConfig, terminal: Terminal): Promise<Finding[]> {
  const bar = new ProgressBar(terminal)
  const onProgress = ({ phase, done, total }: DamageProgress): void =>
    bar.update({ label: LABELS[phase], done, total, unit: phase === 'log' ? 'operation' : 'record' })
  try {
    const store = await openStoredLog(config, terminal.cwd)
    try {
      return await search(store, config, { name: describeStore(config.store, terminal.cwd), onProgress })
    } finally {
      await store.close()
    }
  } catch (error) {
    return [failure('store', error)]
  } finally {
    bar.stop()
  }
}

async function search(
  store: ServerStore,
  { schema }: ServerConfig,
  { name, onProgress }: { name: string; onProgress: (progress: DamageProgress) => void },
): Promise<Finding[]> {
  const damage: Damage[] = []
  let result: DamageSearchResult
  try {
    result = (await store.findDamage?.({
      onDamage: (found) => damage.push(found),
      onProgress,
      ...(schema !== null && { schema: schema.definition }),
    })) as DamageSearchResult // a store that other processes see has the method
  } catch (error) {
    return [...toFindings(damage), failure('store', error)]
  }
  const { rows, records } = result
  const findings = toFindings(damage)
  const read = `${formatQuantity(rows, 'row')} of the log and ${formatQuantity(records, 'record')} read`
  if (!damage.some(({ isCertain }) => isCertain))
    findings.push(ok('store', `${name}: ${read}, nothing is damaged.`))
  else
    findings.push(
      warning(
        'store',
        `${name}: ${read}. Damaged tables and records: migrate --rebuild. Damaged rows of the log: restore a backup.`,
      ),
    )
  return findings
}

function toFindings(damage: readonly Damage[]): Finding[] {
  const findings = damage.slice(0, MAX_NAMED).map(toFinding)
  if (damage.length > MAX_NAMED) findings.push(unnamedFinding(damage.slice(MAX_NAMED)))
  return findings
}

function toFinding({ place, problem, isCertain }: Damage): Finding {
  return isCertain
    ? failure(place, new StoreError('STORE_CORRUPT', `${problem}.`))
    : warning(place, `${problem}.`)
}

function unnamedFinding(damage: readonly Damage[]): Finding {
  const message = `${formatQuantity(damage.length, 'further place')}.`
  return damage.some(({ isCertain }) => isCertain)
    ? failure('store', new StoreError('STORE_CORRUPT', message))
    : warning('store', message)
}
