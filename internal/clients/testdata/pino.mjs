// Logs with pino through pino-loki: node pino.mjs BASE
import pino from 'pino'

const [base] = process.argv.slice(2)
const transport = pino.transport({
  target: 'pino-loki',
  options: {
    host: base,
    labels: { job: 'pino' },
    propsToLabels: ['module'],
    structuredMetaKey: 'meta',
    batching: { interval: 1 },
    silenceErrors: false,
  },
})
const logger = pino({ base: null }, transport)
logger.info({ module: 'cart', meta: { traceId: 'abc123' } }, 'first line')
logger.error({ module: 'cart' }, 'second line: "quoted" ünï\tcode')
transport.on('close', () => process.exit(0))
transport.end()
