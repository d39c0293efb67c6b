// npm's utp-native for benchmarks/bulk.py: `node npm_bulk.js <dir> read <bytes>` says its port and
// then, when it has so many bytes, its processor seconds; `... write <bytes> <port>` sends them.
const path = require('path')
const utp = require(path.join(process.argv[2], 'node_modules', 'utp-native'))
const size = Number(process.argv[4])

function processor () {
  const used = process.cpuUsage()
  return JSON.stringify({ processor: (used.user + used.system) / 1e6 })
}

if (process.argv[3] === 'read') {
  let got = 0
  const server = utp.createServer(function (connection) {
    connection.on('data', function (data) {
      got += data.length
      if (got >= size) console.log(processor())
    })
  })
  server.listen(0, '127.0.0.1', function () {
    server.setRecvBufferSize(8 << 20)
    console.log(JSON.stringify({ port: server.address().port }))
  })
  process.stdin.on('end', function () { process.exit(0) })
} else {
  const socket = utp()
  const connection = socket.connect(Number(process.argv[5]), '127.0.0.1')
  socket.setRecvBufferSize(8 << 20)
  socket.setSendBufferSize(8 << 20)
  const piece = Buffer.alloc(1 << 18)
  let left = size
  function more () {
    while (left > 0) {
      const next = left < piece.length ? piece.slice(0, left) : piece
      left -= next.length
      if (!connection.write(next)) return connection.once('drain', more)
    }
  }
  more()
  process.stdin.on('end', function () { console.log(processor()); process.exit(0) })
}
process.stdin.resume()
