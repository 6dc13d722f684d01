// Socket.IO on Node: a room, and an event to it.
const http = require("http");
const jwt = require("jsonwebtoken");
const { Server } = require("socket.io");

const secret = process.env.BENCH_SECRET;

const site = http.createServer((request, response) => {
  const url = new URL(request.url, "http://127.0.0.1");
  const content = `^${"x".repeat(Number(url.searchParams.get("size")) - 3)}`;
  for (let left = Number(url.searchParams.get("count")); left > 0; left--) io.to("bench").emit("news", content);
  response.writeHead(200, { "Content-Length": 2 }).end("{}");
});
const io = new Server(site, {
  serveClient: false, perMessageDeflate: false, pingInterval: 3600000, pingTimeout: 3600000, transports: ["websocket"],
});

io.use((socket, next) => {
  try {
    jwt.verify(socket.handshake.auth.token, secret, { algorithms: ["HS256"] });
  } catch (error) {
    return next(error);
  }
  socket.join("bench");
  next();
});
io.on("connection", (socket) => socket.on("echo", (data, answer) => answer(data)));

site.listen({ host: "127.0.0.1", port: Number(process.argv[2]), backlog: 4096 });
