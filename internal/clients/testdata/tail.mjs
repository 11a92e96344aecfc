// Follows a query over a WebSocket and prints the lines: node tail.mjs BASE QUERY COUNT
import WebSocket from 'ws'

const [base, query, count] = process.argv.slice(2)
const url = base.replace(/^http/, 'ws') + '/loki/api/v1/tail?' + new URLSearchParams({ query, limit: '100', start: '1' })
const socket = new WebSocket(url)
let left = Number(count)
socket.on('open', () => console.log('open'))
socket.on('message', (data, binary) => {
  if (binary) throw new Error('a binary frame')
  for (const stream of JSON.parse(data).streams) {
    for (const [time, line] of stream.values) {
      console.log(JSON.stringify({ stream: stream.stream, time, line }))
      left--
    }
  }
  if (left <= 0) socket.close(1000)
})
socket.on('error', (err) => { console.error(err); process.exit(1) })
socket.on('close', (code) => { console.log('close ' + code); process.exit(0) })
