import { METRICS, type MetricDefinition } from '../../src/core/metrics.ts'
import { SPANS } from '../../src/core/tracing.ts'
import { markdownTable } from './markdown-table.ts'

/** docs/metrics.md, from the table of metrics. */
export function metricsReference(): string {
  const definitions: readonly MetricDefinition[] = Object.values(METRICS)
  return `${HEAD}\n${definitions.map(section).join('\n')}\n${TAIL}`
}

const HEAD = `<!-- Generated from src/core/metrics.ts by \`npm run generate\`. -->

# Metrics

\`GET /__kora/metrics\` answers in the form of Prometheus. It is opened by \`metricsToken\`, or by \`adminToken\` where there
is none of its own (see [production-server.md](production-server.md)):

\`\`\`yaml
scrape_configs:
  - job_name: kora-server
    metrics_path: /__kora/metrics
    authorization: { credentials_file: /etc/prometheus/kora-token }
    static_configs: [{ targets: ['kora.internal:4567'] }]
\`\`\`

\`config/monitoring/\` holds a dashboard for Grafana and alert rules for Prometheus. What nobody scrapes costs nothing but
counters: everything else is read when it is asked for.
`

const TAIL = `## Of the process

\`process_*\` and \`nodejs_*\` are those of \`prom-client\`: memory, processor time, open files, garbage collection. They
are gathered from the first scrape on.

## Traces

With an OpenTelemetry SDK in the process, the server makes these spans. Without one they cost a tenth of a microsecond.

${markdownTable(
  ['Span', 'From, to'],
  Object.entries(SPANS).map(([name, meaning]) => [`\`${name}\``, meaning]),
)}
`

function section({ name, type, unit, help, labels, buckets, advice }: MetricDefinition): string {
  const kind = unit === 'none' ? type : `${type}, ${unit}`
  const lines = [`## \`${name}\``, '', `${help} (${kind})`, '']
  for (const [label, values] of Object.entries(labels ?? {})) lines.push(`Label \`${label}\`: ${values}.`, '')
  if (buckets !== undefined) lines.push(`Buckets: ${buckets.join(', ')}.`, '')
  lines.push(`**When it moves:** ${advice}`, '')
  return lines.join('\n')
}
