// Logs with the OpenTelemetry SDK: node otlp.mjs BASE http|proto none|gzip
import { logs, SeverityNumber, TraceFlags, context, trace } from '@opentelemetry/api'
import { resourceFromAttributes } from '@opentelemetry/resources'
import { BatchLogRecordProcessor, LoggerProvider } from '@opentelemetry/sdk-logs'

const [base, kind, compression] = process.argv.slice(2)
const { OTLPLogExporter } = await import('@opentelemetry/exporter-logs-otlp-' + kind)
const provider = new LoggerProvider({
  resource: resourceFromAttributes({
    'service.name': `otel-${kind}-${compression}`,
    'service.namespace': 'shop',
    'deployment.environment.name': 'test',
    'host.name': 'h1',
  }),
  processors: [new BatchLogRecordProcessor({
    exporter: new OTLPLogExporter({ url: base + '/otlp/v1/logs', compression }),
  })],
})
const logger = provider.getLogger('checkout', '1.2.3')
const span = trace.setSpanContext(context.active(), {
  traceId: '0af7651916cd43dd8448eb211c80319c',
  spanId: 'b7ad6b7169203331',
  traceFlags: TraceFlags.SAMPLED,
})
logger.emit({
  severityNumber: SeverityNumber.INFO,
  severityText: 'INFO',
  body: 'first line',
  attributes: { 'http.method': 'GET', nested: { deep: { n: 7 } }, list: ['a', 1], yes: true },
  context: span,
})
logger.emit({
  severityNumber: SeverityNumber.ERROR,
  body: { message: 'second line', code: 12 },
})
await provider.shutdown()
