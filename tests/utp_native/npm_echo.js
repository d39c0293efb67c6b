// The other side of test_interop.py: sends back what it receives, over npm's utp-native.
//   node npm_echo.js <directory with node_modules> server
//   node npm_echo.js <directory with node_modules> client <port> <connections>
const path = require('path')
const utp = require(path.join(process.argv[2], 'node_modules', 'utp-native'))

function echo (connection) {
  connection.on('error', function (error) { console.log('error ' + error.message) })
  connection.pipe(connection)
}

if (process.argv[3] === 'server') {
  const server = utp.createServer(echo)
  server.listen(0, '127.0.0.1', function () {
    server.setRecvBufferSize(4 << 20)
    console.log(server.address().port)
  })
} else {
  const socket = utp()
  socket.bind(0, '127.0.0.1')
  socket.setRecvBufferSize(4 << 20)
  for (let i = 0; i < Number(process.argv[5]); i++) echo(socket.connect(Number(process.argv[4]), '127.0.0.1'))
  console.log('connecting')
}
process.stdin.on('end', function () { process.exit(0) })
process.stdin.resume()
