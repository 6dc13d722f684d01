// Where the gateway is. These are the addresses of `scripts/run` on the same computer; on a real phone write
// wss://your-domain/connection/websocket and https://your-domain, and set sandbox to false.
module.exports = {
  url: 'ws://127.0.0.1:8000/connection/websocket',
  httpUrl: 'http://127.0.0.1:8001',
  sandbox: true, // the gateway's stand-in for WeChat signs this phone in; real codes need a real AppID
};
