// One simulated phone: what a mini-program does with the gateway, and what WeChat does to its socket.

const BACKGROUND_SECONDS = 6;
const MESSAGES_KEPT = 200;

/** What the SDK sees of a socket. The phone can cut it, and while it has no network no new one opens. */
function lineOf(phone) {
  return class Line {
    constructor(url, protocols) {
      this.binaryType = "";
      if (phone.unreachable) {
        setTimeout(() => this.drop());
        return;
      }
      const socket = protocols ? new WebSocket(url, protocols) : new WebSocket(url);
      socket.onopen = (event) => this.onopen?.(event);
      socket.onerror = (event) => this.onerror?.(event);
      socket.onmessage = (event) => this.onmessage?.(event);
      socket.onclose = (event) => this.drop(event);
      this.socket = socket;
      phone.line = this;
    }

    send(data) {
      this.socket?.send(data);
    }

    close(code, reason) {
      this.socket?.close(code, reason);
    }

    /** Gone, as a phone sees it: no code, no reason. */
    drop(event = { code: 1006, reason: "" }) {
      if (this.dropped) return;
      this.dropped = true;
      if (phone.line === this) phone.line = null;
      if (this.socket) {
        this.socket.onmessage = this.socket.onclose = this.socket.onerror = null;
        this.socket.close();
      }
      this.onclose?.(event);
    }
  };
}

export class Phone {
  /** `changed` is called after everything that can be seen. */
  constructor(name, config, changed) {
    this.name = name;
    this.config = config;
    this.changed = changed;
    this.state = "signing_in";
    this.reason = "";
    this.openid = "";
    this.personal = "";
    this.messages = [];
    this.background = 0; // seconds left
    this.offline = false;
    this.line = null;
    this.token = "";
    this.catchingUp = new Map(); // channel → messages recovered so far
    this.device = new EventTarget(); // tells the SDK that the network is back, as the phone's system would
    this.client = this.createClient();
    this.client.connect();
  }

  get unreachable() {
    return this.offline || this.background > 0;
  }

  createClient() {
    const client = new Centrifuge(this.config.websocket, {
      name: "js",
      websocket: lineOf(this),
      networkEventTarget: this.device,
      minReconnectDelay: 300,
      maxReconnectDelay: 5000,
      getToken: async () => this.tokenFor(client),
      getData: async () => (this.token ? null : { code: await this.code() }),
    });
    client.on("connecting", (context) => {
      if (context.code !== 0) this.note("cut");
      this.show(this.token ? "reconnecting" : "signing_in");
    });
    client.on("connected", (context) => this.connected(context));
    client.on("disconnected", (context) => this.show("disconnected", `${context.reason} (${context.code})`));
    client.on("subscribed", (context) => {
      this.personal = context.channel;
      this.subscribed(context);
    });
    client.on("publication", (context) => this.received(context));
    client.on("message", (context) => this.add({ kind: "message", channel: "", data: context.data }));
    const news = client.newSubscription(this.config.channel);
    news.on("subscribed", (context) => this.subscribed(context));
    news.on("publication", (context) => this.received(context));
    news.subscribe();
    return client;
  }

  /** Asked before a connect without a token, after a token was refused, and when a token is about to expire. */
  tokenFor(client) {
    if (client.state !== "connected") this.token = ""; // getData fetches a code then
    return this.token;
  }

  /** What wx.login gives a mini-program. */
  async code() {
    const response = await fetch("/sandbox/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ user: this.name.toLowerCase() }),
    });
    if (!response.ok) throw new Error(`wx.login: ${response.status}`);
    return (await response.json()).code;
  }

  connected(context) {
    const { token, openid } = context.data ?? {};
    this.note(token ? "signed_in" : "came_back");
    if (token) {
      this.token = token;
      this.client.setToken(token);
    }
    this.openid = openid ?? this.openid;
    this.show("connected");
  }

  subscribed(context) {
    if (!context.wasRecovering) return;
    if (!context.recovered) {
      // Two channels may have lost theirs; it is one story.
      if (this.messages.at(-1)?.name !== "lost") this.note("lost");
      return;
    }
    // What was missed arrives in this very turn; what comes later is new.
    this.catchingUp.set(context.channel, 0);
    setTimeout(() => {
      const count = this.catchingUp.get(context.channel);
      this.catchingUp.delete(context.channel);
      if (count) this.note("caught_up", { count });
      else if (context.channel === this.config.channel) this.note("nothing_missed");
    });
  }

  received(context) {
    const recovered = this.catchingUp.has(context.channel);
    if (recovered) this.catchingUp.set(context.channel, this.catchingUp.get(context.channel) + 1);
    this.add({ kind: "message", channel: context.channel, offset: context.offset, data: context.data, recovered });
  }

  note(name, values = {}) {
    this.add({ kind: "note", name, values });
  }

  add(message) {
    this.messages.push(message);
    if (this.messages.length > MESSAGES_KEPT) this.messages.shift();
    this.changed(this);
  }

  show(state, reason = "") {
    this.state = state;
    this.reason = reason;
    this.changed(this);
  }

  // ------------------------------------------------------------------ what happens to phones
  toBackground() {
    if (this.background) return;
    this.background = BACKGROUND_SECONDS;
    this.line?.drop();
    this.timer = setInterval(() => {
      this.background -= 1;
      if (!this.background) {
        clearInterval(this.timer);
        this.reachable();
      }
      this.changed(this);
    }, 1000);
    this.changed(this);
  }

  setOffline(offline) {
    this.offline = offline;
    if (offline) this.line?.drop();
    else this.reachable();
    this.changed(this);
  }

  reachable() {
    if (!this.unreachable) this.device.dispatchEvent(new Event("online"));
  }

  signInAgain() {
    this.token = "";
    this.client.setToken("");
    this.client.connect();
  }

  remove() {
    clearInterval(this.timer);
    this.client.disconnect();
  }
}
