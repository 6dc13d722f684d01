// Bun: its own server (uWebSockets inside), and its publish to a topic.
const jwt = require("jsonwebtoken");

const secret = process.env.BENCH_SECRET;

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  fetch(request, server) {
    const url = new URL(request.url);
    if (url.pathname === "/publish") {
      const content = `"^${"x".repeat(Number(url.searchParams.get("size")) - 3)}"`;
      for (let left = Number(url.searchParams.get("count")); left > 0; left--) server.publish("bench", content);
      return new Response("{}");
    }
    return server.upgrade(request, { data: { known: false } }) ? undefined : new Response("?", { status: 400 });
  },
  websocket: {
    idleTimeout: 0,
    sendPings: false,
    perMessageDeflate: false,
    message(socket, message) {
      if (socket.data.known) return void socket.send(message);
      jwt.verify(message, secret, { algorithms: ["HS256"] });
      socket.data.known = true;
      socket.subscribe("bench");
      socket.send("ready");
    },
  },
});
