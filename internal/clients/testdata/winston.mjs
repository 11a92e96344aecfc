// Logs with winston through winston-loki: node winston.mjs BASE json|protobuf
import winston from 'winston'
import LokiTransport from 'winston-loki'

const [base, format] = process.argv.slice(2)
let failure
const transport = new LokiTransport({
  host: base,
  labels: { job: 'winston-' + format },
  json: format === 'json',
  useWinstonMetaAsLabels: false,
  format: winston.format.printf(({ message }) => message),
  interval: 1,
  onConnectionError: (err) => { failure = err },
})
const logger = winston.createLogger({ transports: [transport] })
logger.info('first line', { labels: { module: 'cart' } })
logger.error('second line: "quoted" ünï\tcode', { labels: { module: 'cart' } })
await transport.flush()
logger.close()
if (failure) {
  console.error(failure)
  process.exit(1)
}
process.exit(0)
