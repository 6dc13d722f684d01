/*! wx-gateway-client 0.1.0, with centrifuge and events in it: MIT, see THIRD-PARTY.txt */
var __defProp = Object.defineProperty;
var __defProps = Object.defineProperties;
var __getOwnPropDescs = Object.getOwnPropertyDescriptors;
var __getOwnPropSymbols = Object.getOwnPropertySymbols;
var __hasOwnProp = Object.prototype.hasOwnProperty;
var __propIsEnum = Object.prototype.propertyIsEnumerable;
var __defNormalProp = (obj, key, value) => key in obj ? __defProp(obj, key, { enumerable: true, configurable: true, writable: true, value }) : obj[key] = value;
var __spreadValues = (a, b) => {
  for (var prop in b || (b = {}))
    if (__hasOwnProp.call(b, prop))
      __defNormalProp(a, prop, b[prop]);
  if (__getOwnPropSymbols)
    for (var prop of __getOwnPropSymbols(b)) {
      if (__propIsEnum.call(b, prop))
        __defNormalProp(a, prop, b[prop]);
    }
  return a;
};
var __spreadProps = (a, b) => __defProps(a, __getOwnPropDescs(b));

// src/environment.ts
var environment = { Promise, console: typeof console === "undefined" ? void 0 : console };

// src/errors.ts
var LocalCode = {
  TIMEOUT: 1,
  CONNECTION_LOST: 2,
  OFFLINE: 3,
  QUEUE_FULL: 4,
  LOGIN: 5,
  ENDED: 6,
  NETWORK: 7,
  UNSUPPORTED: 8,
  HANDLER: 9,
  REFUSED: 10
};
var TEMPORARY = [1, 2, 3, 4, 5, 7, 100, 111, 400, 402, 426, 427];
var ADVICE = {
  100: ["internal server error", "Try again later."],
  101: ["unauthorized", "Sign in first."],
  104: ["method not found", "No handler of the backend has this name."],
  106: ["limit exceeded", "Unsubscribe from channels that no page shows."],
  109: ["token expired", "Sign in again: connect() does it by itself."],
  111: ["too many requests", "Send less often, and try again later."],
  401: ["WeChat refuses this user", "Stop, and say so to the user: WeChat blocked the account, another try changes nothing."],
  402: ["sign-in is not available: the operator has been told", "Try again later; the log of the gateway names the setting that is wrong."],
  403: ["unknown appid", "Give createGateway the appid of this mini-program, and the gateway its secret."],
  404: ["message too large", "Send less, or upload it as a file."],
  405: ["session_key_stale: sign in again with a new wx.login code", "Call wx.getUserInfo again and send what it gives now; openData() does it by itself."],
  420: ["", "Choose a smaller file."],
  421: ["", "Choose a file of another type."],
  422: ["no such file", "It is gone, or this user may not read it."],
  423: ["", "Try again tomorrow."],
  3500: ["invalid token", "Sign in again: call connect()."],
  3503: ["force disconnect", "The backend ended this connection: call connect() when the user wants to come back."],
  3504: ["connection limit", "Too many connections of this user: close the others."],
  3505: ["channel limit", "Unsubscribe from channels that no page shows."],
  4500: ["replaced by a newer connection of this user", "Call connect() when this phone is to take over."],
  4501: ["signed out", "Call connect() to sign in again."]
};
var GatewayError = class _GatewayError extends Error {
  constructor(code, text, cause, temporary) {
    super(text);
    const setPrototypeOf = Object.setPrototypeOf;
    if (setPrototypeOf) setPrototypeOf(this, _GatewayError.prototype);
    const advice = ADVICE[code];
    this.name = "GatewayError";
    this.code = code;
    this.message = advice && (!advice[0] || advice[0] === text) ? text + ". " + advice[1] : text;
    this.errMsg = "gateway:fail " + this.message;
    this.temporary = temporary === void 0 ? TEMPORARY.indexOf(code) >= 0 : temporary;
    if (cause !== void 0) this.cause = cause;
  }
};
function asError(reason, code = LocalCode.NETWORK, text) {
  if (reason instanceof GatewayError) return reason;
  if (reason && typeof reason.code === "number" && typeof reason.message === "string") {
    return local(reason) || new GatewayError(reason.code, reason.message, reason, reason.temporary);
  }
  const said2 = reason && (reason.errMsg || reason.message) || String(reason);
  return new GatewayError(code, text ? text + " (" + said2 + ")" : said2, reason);
}
function local(reason) {
  if (reason.code >= 100) return null;
  if (reason.code === 1) return timeout(reason);
  if (reason.code === 2 || reason.code === 11 || reason.code === 10) return lost(reason);
  return new GatewayError(LocalCode.ENDED, "Ended by the app: " + reason.message + ".", reason);
}
function timeout(cause) {
  return new GatewayError(LocalCode.TIMEOUT, "No answer in time. The gateway may have done it: look before you try again.", cause);
}
function lost(cause) {
  return new GatewayError(
    LocalCode.CONNECTION_LOST,
    "The connection broke before the answer. The gateway may have done it: look before you try again.",
    cause
  );
}

// src/acknowledge.ts
var REMEMBERED = 1e3;
var BATCH = 100;
var GATHER = 50;
var UNKNOWN_METHOD = [104, 108];
var Acknowledgements = class {
  constructor(connection, enabled) {
    this.connection = connection;
    this.enabled = enabled;
    this.known = {};
    this.order = [];
    this.waiting = [];
    this.timer = 0;
    this.supported = true;
  }
  /** Handled in this life already: it is only acknowledged again. */
  isKnown(publication) {
    const id = this.id(publication);
    return id !== void 0 && Boolean(this.known[id]);
  }
  /** `handled`: whether each of its handlers ran without throwing. */
  after(publication, handled) {
    if (this.id(publication) === void 0 || !handled.length) return;
    Promise.all(handled).then((well) => this.handled(publication, well.every(Boolean)));
  }
  handled(publication, well) {
    const id = this.id(publication);
    if (id === void 0 || !well) return;
    this.remember(id);
    this.waiting.push(id);
    this.later();
  }
  /** There is a connection: what could not be said before. */
  connected() {
    this.supported = true;
    if (this.waiting.length) this.later();
  }
  id(publication) {
    return this.enabled && publication.tags ? publication.tags.ack : void 0;
  }
  remember(id) {
    if (this.known[id]) return;
    this.known[id] = true;
    this.order.push(id);
    if (this.order.length > REMEMBERED) delete this.known[this.order.shift()];
  }
  later() {
    if (!this.timer) this.timer = setTimeout(() => this.send(), GATHER);
  }
  send() {
    this.timer = 0;
    const connection = this.connection();
    if (!this.supported || connection.state !== "connected") {
      this.waiting = this.waiting.slice(-REMEMBERED);
      return;
    }
    const ids = this.waiting.splice(0, BATCH);
    if (!ids.length) return;
    connection.call(() => connection.client.rpc("ack", { ids })).then(
      () => this.waiting.length && this.later(),
      (error) => {
        if (UNKNOWN_METHOD.indexOf(error.code) >= 0) this.supported = false;
        else this.waiting = ids.concat(this.waiting);
      }
    );
  }
};

// src/callbacks.ts
function tell(promise, callbacks) {
  if (!callbacks || !(callbacks.success || callbacks.fail || callbacks.complete)) return promise;
  const { success, fail, complete } = callbacks;
  promise.then(
    (result) => {
      if (success) later(() => success(result));
      if (complete) later(() => complete(result));
    },
    (reason) => {
      const error = asError(reason);
      if (fail) later(() => fail(error));
      if (complete) later(() => complete(error));
    }
  );
  if (fail || complete) promise.then(void 0, () => void 0);
  return promise;
}
function later(callback) {
  setTimeout(callback, 0);
}

// src/listeners.ts
var SAVE_AFTER = 1e3;
var Entry = class {
  constructor(name, storage) {
    this.name = name;
    this.storage = storage;
    this.listeners = [];
    this.position = null;
    this.current = null;
    this.keep = false;
    /** It was subscribed to before, in this life. */
    this.begun = false;
    /** It was told that this channel loses what is missed. */
    this.warned = false;
    this.sub = null;
    this.timer = 0;
    this.saved = null;
  }
  kept() {
    return this.storage.get("position." + this.name);
  }
  /** Written at once, and then at most once a second: storage is slow. */
  moved(position, channel) {
    this.position = position;
    if (!this.keep || this.timer) return;
    this.save(channel);
    this.timer = setTimeout(() => {
      this.timer = 0;
      this.save(channel);
    }, SAVE_AFTER);
  }
  save(channel) {
    if (!this.keep || !this.position || this.position === this.saved) return;
    this.saved = this.position;
    this.storage.set("position." + this.name, __spreadProps(__spreadValues({}, this.position), { channel }));
  }
};
var Listener = class {
  constructor(handlers, entry, owner, calls) {
    this.handlers = handlers;
    this.entry = entry;
    this.owner = owner;
    this.calls = calls;
    this.waiting = [];
    this.ended = null;
  }
  get channel() {
    const { current, name } = this.entry;
    return current ? current.channel : name;
  }
  get position() {
    return this.entry.position;
  }
  ready() {
    if (this.ended) return Promise.reject(this.ended);
    const { current } = this.entry;
    if (current) return Promise.resolve(current);
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }
  publish(data) {
    return this.calls.publish(this.channel, data);
  }
  presence() {
    return this.calls.presence(this.channel);
  }
  history(options) {
    return this.calls.history(this.channel, options);
  }
  unsubscribe() {
    if (this.ended) return;
    this.end(new GatewayError(LocalCode.ENDED, "Unsubscribed by the app."));
    this.owner.leave(this.entry, this);
  }
  begin(context) {
    const waiting = this.waiting;
    this.waiting = [];
    waiting.forEach((each) => each.resolve(context));
    this.owner.guard(this.handlers, () => {
      if (this.handlers.subscribed) this.handlers.subscribed(context);
    });
    if (!context.wasRecovering || context.recovered) return;
    this.owner.guard(this.handlers, () => {
      if (this.handlers.gap) this.handlers.gap(context);
    });
  }
  end(error) {
    this.ended = error;
    const waiting = this.waiting;
    this.waiting = [];
    waiting.forEach((each) => each.reject(error));
  }
};

// src/channels.ts
var ALREADY_SUBSCRIBED = 105;
var PERSONAL = "personal";
var Channels = class {
  constructor(connection, storage, emitter, acknowledgements, calls, openid, failed) {
    this.connection = connection;
    this.storage = storage;
    this.emitter = emitter;
    this.acknowledgements = acknowledgements;
    this.calls = calls;
    this.openid = openid;
    this.failed = failed;
    this.entries = {};
    /** Channels that the gateway subscribed this user to, by what is known of them. */
    this.serverSide = {};
    this.listen();
    connection.since = () => this.since();
  }
  subscribe(channel, given, options = {}) {
    const handlers = typeof given === "function" ? { publication: given } : given;
    const entry = this.entry(channel, options);
    if (this.serverSide[channel]) entry.current = this.serverSide[channel];
    else if (!entry.sub && !entry.listeners.length) this.open(entry, handlers, options);
    return this.join(entry, handlers);
  }
  personal(given, options = {}) {
    const handlers = typeof given === "function" ? { publication: given } : given;
    const entry = this.entry(PERSONAL, options);
    const known = Object.keys(this.serverSide).filter((channel) => this.isPersonal(channel))[0];
    if (known) entry.current = this.serverSide[known];
    return this.join(entry, handlers);
  }
  /** Write down what is in memory alone. */
  save() {
    this.each((entry) => entry.save(entry.current ? entry.current.channel : entry.name));
  }
  /** Another user comes next: their own channel is another. */
  forgetUser() {
    this.storage.remove("position." + PERSONAL);
    const entry = this.entries[PERSONAL];
    if (entry) entry.position = entry.current = null;
  }
  leave(entry, listener) {
    entry.listeners = entry.listeners.filter((each) => each !== listener);
    if (entry.listeners.length) return;
    entry.save(listener.channel);
    this.remove(entry);
  }
  /** Run a handler of the app; what it throws is told, and stops nothing. */
  guard(handlers, run) {
    const threw = (reason) => {
      const error = new GatewayError(LocalCode.HANDLER, "A handler of the app threw: " + (reason && reason.message || String(reason)), reason, false);
      if (handlers.error) handlers.error(error);
      this.failed(error);
      return false;
    };
    try {
      const result = run();
      return result && typeof result.then === "function" ? result.then(() => true, threw) : Promise.resolve(true);
    } catch (reason) {
      return Promise.resolve(threw(reason));
    }
  }
  // ---------------------------------------------------------------- entries
  entry(name, options) {
    const entry = this.entries[name] = this.entries[name] || new Entry(name, this.storage);
    entry.keep = entry.keep || Boolean(options.keep);
    if (!entry.position && !entry.listeners.length) entry.position = options.since || entry.keep && entry.kept() || null;
    return entry;
  }
  join(entry, handlers) {
    const listener = new Listener(handlers, entry, this, this.calls);
    entry.listeners.push(listener);
    const { current } = entry;
    if (current) setTimeout(() => listener.begin(__spreadProps(__spreadValues({}, current), { wasRecovering: false, recovered: false })), 0);
    return listener;
  }
  open(entry, handlers, options) {
    const { client } = this.connection;
    const sub = client.newSubscription(entry.name, {
      since: entry.position,
      data: options.data === void 0 ? null : options.data,
      token: options.token || "",
      recoverable: true,
      positioned: true,
      joinLeave: Boolean(handlers.join || handlers.leave)
    });
    entry.sub = sub;
    sub.on("publication", (context) => this.publication(entry, context));
    sub.on("subscribed", (context) => this.subscribed(entry, context));
    sub.on("subscribing", () => {
      entry.current = null;
    });
    sub.on("unsubscribed", (context) => this.unsubscribed(entry, context.code, context.reason));
    sub.on("join", (context) => this.presence(entry, "join", context));
    sub.on("leave", (context) => this.presence(entry, "leave", context));
    sub.on("error", (context) => this.problem(entry, asError(context.error)));
    sub.subscribe();
  }
  remove(entry) {
    if (this.entries[entry.name] === entry) delete this.entries[entry.name];
    const { sub } = entry;
    entry.sub = null;
    if (!sub) return;
    sub.removeAllListeners();
    sub.unsubscribe();
    this.connection.client.removeSubscription(sub);
  }
  unsubscribed(entry, code, reason) {
    if (code === ALREADY_SUBSCRIBED) {
      const { sub } = entry;
      entry.sub = null;
      if (sub) this.connection.client.removeSubscription(sub);
      const context = this.serverSide[entry.name];
      if (context) this.begin(entry, context);
      return;
    }
    const error = new GatewayError(code, reason);
    const { listeners } = entry;
    this.remove(entry);
    listeners.forEach((listener) => {
      listener.end(error);
      this.guard(listener.handlers, () => {
        if (listener.handlers.unsubscribed) listener.handlers.unsubscribed({ channel: entry.name, code, reason });
      });
    });
  }
  // ---------------------------------------------------------------- what comes
  listen() {
    const { client } = this.connection;
    client.on("publication", (context) => {
      const publication = this.make(context, this.serverSide[context.channel]);
      this.emitter.emit("publication", publication);
      const entries = this.of(context.channel);
      if (entries.length) entries.forEach((entry) => this.deliver(entry, publication));
      else this.acknowledgements.handled(publication, this.emitter.has("publication"));
    });
    client.on("subscribed", (context) => {
      const entries = this.of(context.channel);
      const subscribed = this.understood(context, Boolean(this.serverSide[context.channel]), entries);
      this.serverSide[context.channel] = subscribed;
      this.emitter.emit("subscribed", subscribed);
      if (subscribed.wasRecovering && !subscribed.recovered) this.emitter.emit("gap", subscribed);
      entries.forEach((entry) => this.begin(entry, subscribed));
    });
    client.on("subscribing", (context) => {
      this.of(context.channel).forEach((entry) => {
        entry.current = null;
      });
    });
    client.on("unsubscribed", (context) => {
      delete this.serverSide[context.channel];
      this.emitter.emit("unsubscribed", context);
      this.of(context.channel).forEach((entry) => this.unsubscribed(entry, 2e3, "the gateway unsubscribed this user"));
    });
    client.on("join", (context) => {
      this.emitter.emit("join", context);
      this.of(context.channel).forEach((entry) => this.presence(entry, "join", context));
    });
    client.on("leave", (context) => {
      this.emitter.emit("leave", context);
      this.of(context.channel).forEach((entry) => this.presence(entry, "leave", context));
    });
    client.on("message", (context) => this.emitter.emit("message", context));
  }
  /** Who listens to a channel of the gateway's choosing. */
  of(channel) {
    const found = [];
    const named = this.entries[channel];
    if (named && !named.sub) found.push(named);
    if (this.entries[PERSONAL] && this.isPersonal(channel)) found.push(this.entries[PERSONAL]);
    return found;
  }
  isPersonal(channel) {
    const openid = this.openid();
    if (!openid) return /(^|:)#/.test(channel);
    const own = "#" + openid;
    return channel === own || channel.length > own.length && channel.slice(-own.length - 1) === ":" + own;
  }
  make(context, subscribed) {
    const { channel, data, offset, info, tags } = context;
    const epoch = subscribed && subscribed.position ? subscribed.position.epoch : void 0;
    const recovered = this.connection.client.isRecovered(channel, offset);
    const publication = { channel, data, recovered };
    if (offset !== void 0) publication.offset = offset;
    if (offset !== void 0 && epoch !== void 0) publication.epoch = epoch;
    if (info) publication.info = info;
    if (tags) publication.tags = tags;
    return publication;
  }
  publication(entry, context) {
    this.deliver(entry, this.make(context, entry.current));
  }
  deliver(entry, publication) {
    const again = this.acknowledgements.isKnown(publication);
    const handled = again ? [Promise.resolve(true)] : entry.listeners.slice().map(
      (listener) => this.guard(listener.handlers, () => {
        if (listener.handlers.publication) return listener.handlers.publication(publication);
      })
    );
    const { offset, epoch } = publication;
    if (offset !== void 0 && epoch !== void 0) entry.moved({ offset, epoch }, publication.channel);
    this.acknowledgements.after(publication, handled);
  }
  subscribed(entry, context) {
    this.begin(entry, this.understood(context, entry.begun, [entry]));
  }
  /** Without recovery centrifuge asks for nothing after the first time, and what was missed would be lost in silence. */
  understood(context, again, entries) {
    const subscribed = toSubscribed(context);
    if (context.recoverable) return subscribed;
    if (again || entries.some((entry) => Boolean(entry.position))) subscribed.wasRecovering = true;
    entries.forEach((entry) => {
      if (entry.warned || !(subscribed.wasRecovering || entry.keep)) return;
      entry.warned = true;
      const text = context.channel + " keeps no recoverable history for clients, what is missed is lost: force_recovery, docs/channels.md";
      this.failed(new GatewayError(LocalCode.UNSUPPORTED, text));
    });
    return subscribed;
  }
  begin(entry, context) {
    entry.current = context;
    entry.begun = true;
    if (context.position) entry.moved(context.position, context.channel);
    entry.listeners.slice().forEach((listener) => listener.begin(context));
  }
  presence(entry, event, context) {
    entry.listeners.slice().forEach((listener) => {
      const handler = listener.handlers[event];
      if (handler) this.guard(listener.handlers, () => handler(context));
    });
  }
  problem(entry, error) {
    entry.listeners.slice().forEach((listener) => {
      const handler = listener.handlers.error;
      if (handler) this.guard({}, () => handler(error));
    });
  }
  // ---------------------------------------------------------------- where to go on
  /** For the first connect of this life: later centrifuge itself knows. */
  since() {
    const result = {};
    const entry = this.entries[PERSONAL];
    const openid = this.openid();
    if (!entry || !entry.position || !openid) return result;
    const kept = entry.kept();
    const { offset, epoch } = entry.position;
    result[kept && kept.channel && this.isPersonal(kept.channel) ? kept.channel : "#" + openid] = { offset, epoch };
    return result;
  }
  each(visit) {
    Object.keys(this.entries).forEach((name) => visit(this.entries[name]));
  }
};
function toSubscribed(context) {
  const { channel, wasRecovering, recovered, streamPosition, data } = context;
  const result = { channel, wasRecovering, recovered };
  if (streamPosition) result.position = streamPosition;
  if (data !== void 0) result.data = data;
  return result;
}

// src/phone.ts
var Phone = class {
  /** Listeners of wx are added once, and never taken off: not every base library can. */
  constructor(wx2, events2) {
    this.isHidden = false;
    this.hiddenAt = 0;
    this.network = null;
    this.isOffline = false;
    this.waiting = [];
    const listen = (name, listener) => {
      const add = wx2[name];
      if (typeof add === "function") add.call(wx2, listener);
    };
    listen("onAppHide", () => {
      if (this.isHidden) return;
      this.isHidden = true;
      this.hiddenAt = Date.now();
      events2.hidden();
    });
    listen("onAppShow", () => {
      if (!this.isHidden) return;
      this.isHidden = false;
      events2.shown(Date.now() - this.hiddenAt);
      const waiting = this.waiting;
      this.waiting = [];
      waiting.forEach((resolve) => resolve());
    });
    listen("onNetworkStatusChange", (event) => this.networkChanged(event || {}, events2));
    listen("onSocketClose", () => events2.closed());
  }
  /** Resolved while the app is on the screen: hidden, it has no network. */
  visible() {
    return this.isHidden ? new Promise((resolve) => this.waiting.push(resolve)) : Promise.resolve();
  }
  networkChanged(event, events2) {
    const previous = this.network;
    this.network = event.networkType || null;
    if (event.isConnected === false) {
      this.isOffline = true;
      events2.offline();
    } else if (this.isOffline) {
      this.isOffline = false;
      events2.online();
    } else if (previous !== null && previous === this.network) {
      events2.doubtful();
    } else {
      events2.switched();
    }
  }
};

// src/queue.ts
var Queue = class {
  constructor(limits) {
    this.limits = limits;
    this.waiting = [];
    this.bytes = 0;
  }
  get length() {
    return this.waiting.length;
  }
  /** `run` once there is a connection. Rejected where it does not fit, or waited too long. */
  add(run, size2) {
    const { calls, bytes, time } = this.limits;
    if (this.waiting.length >= calls || this.bytes + size2 > bytes) {
      const text = "Too much waits for the connection already: send less while offline, or raise queueLimit and queueBytes.";
      return Promise.reject(new GatewayError(LocalCode.QUEUE_FULL, text));
    }
    return new Promise((resolve, reject) => {
      const entry = { run: () => run().then(resolve, reject), fail: reject, size: size2, timer: 0 };
      entry.timer = setTimeout(() => {
        this.waiting = this.waiting.filter((each) => each !== entry);
        this.bytes -= size2;
        reject(new GatewayError(LocalCode.OFFLINE, "No connection in time; it was not sent. Try again later."));
      }, time);
      this.waiting.push(entry);
      this.bytes += size2;
    });
  }
  /** There is a connection. */
  flush() {
    this.take().forEach((each) => each.run());
  }
  /** There will be none. */
  fail(error) {
    this.take().forEach((each) => each.fail(error));
  }
  take() {
    const taken = this.waiting;
    this.waiting = [];
    this.bytes = 0;
    taken.forEach((each) => clearTimeout(each.timer));
    return taken;
  }
};

// src/socket.ts
var CONNECTING = 0;
var OPEN = 1;
var CLOSED = 3;
var MAX_ABANDONED = 1;
function socketClass(options) {
  return class extends WxSocket {
    constructor(url) {
      super(url, options);
    }
  };
}
var WxSocket = class {
  constructor(url, options) {
    this.options = options;
    this.onopen = nothing;
    this.onmessage = nothing;
    this.onerror = nothing;
    this.onclose = nothing;
    this.readyState = CONNECTING;
    this.task = null;
    this.abandoned = false;
    if (options.abandoned.count >= MAX_ABANDONED) {
      setTimeout(() => this.fail({ errMsg: "an earlier socket is still opening" }), 0);
      return;
    }
    let returned;
    try {
      returned = options.wx.connectSocket({
        url,
        timeout: options.timeout,
        success: nothing,
        fail: (reason) => this.fail(reason),
        complete: nothing
      });
    } catch (reason) {
      setTimeout(() => this.fail(reason), 0);
      return;
    }
    if (returned && typeof returned.then === "function" && typeof returned.onOpen !== "function") {
      returned.then((task) => this.adopt(task), (reason) => this.fail(reason));
    } else {
      this.adopt(returned);
    }
  }
  send(text) {
    if (this.readyState !== OPEN) throw new Error("the socket is not open");
    this.options.traffic("out", text);
    this.task.send({ data: text, success: nothing, fail: () => this.broken() });
  }
  close() {
    if (this.readyState === CLOSED) return;
    const opening = this.readyState === CONNECTING;
    this.readyState = CLOSED;
    if (opening) {
      this.abandoned = true;
      this.options.abandoned.count++;
      setTimeout(() => this.gone(), 2 * this.options.timeout);
    }
    this.closeTask();
    this.tellEnd({ code: 1e3, reason: "" });
  }
  /** The socket is dead, whatever the phone says of it: told from outside (the global onSocketClose). */
  broken() {
    if (this.readyState === CLOSED) return;
    this.closeTask();
    this.end({ code: 1006, reason: "" });
  }
  adopt(task) {
    if (!task || typeof task.onOpen !== "function") {
      setTimeout(() => this.fail({ errMsg: "connectSocket gave no task" }), 0);
      return;
    }
    this.task = task;
    task.onOpen(() => this.opened());
    task.onMessage((event) => this.heard(event.data));
    task.onError((reason) => this.fail(reason));
    task.onClose((event) => this.closed(event));
  }
  opened() {
    if (this.readyState === CLOSED) {
      this.closeTask();
      this.gone();
      return;
    }
    if (this.readyState !== CONNECTING) return;
    this.readyState = OPEN;
    this.onopen();
  }
  heard(data) {
    if (this.readyState !== OPEN || typeof data !== "string") return;
    this.options.traffic("in", data);
    this.onmessage({ data });
  }
  fail(reason) {
    this.gone();
    if (this.readyState === CLOSED) return;
    const wasOpen = this.readyState === OPEN;
    if (!wasOpen) this.options.unopened(reason);
    this.onerror(reason);
    if (wasOpen) this.closeTask();
    this.end({ code: 1006, reason: "" });
  }
  closed(event) {
    this.gone();
    if (this.readyState === CLOSED) return;
    this.end(understood(event));
  }
  end(event) {
    if (this.readyState === CLOSED) return;
    this.readyState = CLOSED;
    this.onclose(event);
  }
  tellEnd(event) {
    setTimeout(() => this.onclose(event), 0);
  }
  closeTask() {
    try {
      if (this.task) this.task.close({ code: 1e3, reason: "", success: nothing, fail: nothing });
    } catch (reason) {
      this.onerror(reason);
    }
  }
  /** No longer on the phone's list of sockets. */
  gone() {
    if (!this.abandoned) return;
    this.abandoned = false;
    this.options.abandoned.count--;
  }
};
function understood(event) {
  const code = Number(event && event.code) || 1006;
  if (code < 3e3) return { code: code === 1009 ? 1009 : 1006, reason: "" };
  const reason = String(event && event.reason || "closed by the gateway");
  return { code, reason: isJson(reason) ? "closed by the gateway: " + reason : reason };
}
function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch (notJson) {
    return false;
  }
}
function nothing() {
}

// node_modules/centrifuge/build/index.mjs
function __awaiter(thisArg, _arguments, P, generator) {
  function adopt(value) {
    return value instanceof P ? value : new P(function(resolve) {
      resolve(value);
    });
  }
  return new (P || (P = Promise))(function(resolve, reject) {
    function fulfilled(value) {
      try {
        step(generator.next(value));
      } catch (e) {
        reject(e);
      }
    }
    function rejected(value) {
      try {
        step(generator["throw"](value));
      } catch (e) {
        reject(e);
      }
    }
    function step(result) {
      result.done ? resolve(result.value) : adopt(result.value).then(fulfilled, rejected);
    }
    step((generator = generator.apply(thisArg, _arguments || [])).next());
  });
}
function getDefaultExportFromCjs(x) {
  return x && x.__esModule && Object.prototype.hasOwnProperty.call(x, "default") ? x["default"] : x;
}
var events = { exports: {} };
var hasRequiredEvents;
function requireEvents() {
  if (hasRequiredEvents) return events.exports;
  hasRequiredEvents = 1;
  var R = typeof Reflect === "object" ? Reflect : null;
  var ReflectApply = R && typeof R.apply === "function" ? R.apply : function ReflectApply2(target, receiver, args) {
    return Function.prototype.apply.call(target, receiver, args);
  };
  var ReflectOwnKeys;
  if (R && typeof R.ownKeys === "function") {
    ReflectOwnKeys = R.ownKeys;
  } else if (Object.getOwnPropertySymbols) {
    ReflectOwnKeys = function ReflectOwnKeys2(target) {
      return Object.getOwnPropertyNames(target).concat(Object.getOwnPropertySymbols(target));
    };
  } else {
    ReflectOwnKeys = function ReflectOwnKeys2(target) {
      return Object.getOwnPropertyNames(target);
    };
  }
  function ProcessEmitWarning(warning) {
    if (console && console.warn) console.warn(warning);
  }
  var NumberIsNaN = Number.isNaN || function NumberIsNaN2(value) {
    return value !== value;
  };
  function EventEmitter2() {
    EventEmitter2.init.call(this);
  }
  events.exports = EventEmitter2;
  events.exports.once = once;
  EventEmitter2.EventEmitter = EventEmitter2;
  EventEmitter2.prototype._events = void 0;
  EventEmitter2.prototype._eventsCount = 0;
  EventEmitter2.prototype._maxListeners = void 0;
  var defaultMaxListeners = 10;
  function checkListener(listener) {
    if (typeof listener !== "function") {
      throw new TypeError('The "listener" argument must be of type Function. Received type ' + typeof listener);
    }
  }
  Object.defineProperty(EventEmitter2, "defaultMaxListeners", {
    enumerable: true,
    get: function() {
      return defaultMaxListeners;
    },
    set: function(arg) {
      if (typeof arg !== "number" || arg < 0 || NumberIsNaN(arg)) {
        throw new RangeError('The value of "defaultMaxListeners" is out of range. It must be a non-negative number. Received ' + arg + ".");
      }
      defaultMaxListeners = arg;
    }
  });
  EventEmitter2.init = function() {
    if (this._events === void 0 || this._events === Object.getPrototypeOf(this)._events) {
      this._events = /* @__PURE__ */ Object.create(null);
      this._eventsCount = 0;
    }
    this._maxListeners = this._maxListeners || void 0;
  };
  EventEmitter2.prototype.setMaxListeners = function setMaxListeners(n) {
    if (typeof n !== "number" || n < 0 || NumberIsNaN(n)) {
      throw new RangeError('The value of "n" is out of range. It must be a non-negative number. Received ' + n + ".");
    }
    this._maxListeners = n;
    return this;
  };
  function _getMaxListeners(that) {
    if (that._maxListeners === void 0)
      return EventEmitter2.defaultMaxListeners;
    return that._maxListeners;
  }
  EventEmitter2.prototype.getMaxListeners = function getMaxListeners() {
    return _getMaxListeners(this);
  };
  EventEmitter2.prototype.emit = function emit(type) {
    var args = [];
    for (var i = 1; i < arguments.length; i++) args.push(arguments[i]);
    var doError = type === "error";
    var events2 = this._events;
    if (events2 !== void 0)
      doError = doError && events2.error === void 0;
    else if (!doError)
      return false;
    if (doError) {
      var er;
      if (args.length > 0)
        er = args[0];
      if (er instanceof Error) {
        throw er;
      }
      var err = new Error("Unhandled error." + (er ? " (" + er.message + ")" : ""));
      err.context = er;
      throw err;
    }
    var handler = events2[type];
    if (handler === void 0)
      return false;
    if (typeof handler === "function") {
      ReflectApply(handler, this, args);
    } else {
      var len = handler.length;
      var listeners = arrayClone(handler, len);
      for (var i = 0; i < len; ++i)
        ReflectApply(listeners[i], this, args);
    }
    return true;
  };
  function _addListener(target, type, listener, prepend) {
    var m;
    var events2;
    var existing;
    checkListener(listener);
    events2 = target._events;
    if (events2 === void 0) {
      events2 = target._events = /* @__PURE__ */ Object.create(null);
      target._eventsCount = 0;
    } else {
      if (events2.newListener !== void 0) {
        target.emit(
          "newListener",
          type,
          listener.listener ? listener.listener : listener
        );
        events2 = target._events;
      }
      existing = events2[type];
    }
    if (existing === void 0) {
      existing = events2[type] = listener;
      ++target._eventsCount;
    } else {
      if (typeof existing === "function") {
        existing = events2[type] = prepend ? [listener, existing] : [existing, listener];
      } else if (prepend) {
        existing.unshift(listener);
      } else {
        existing.push(listener);
      }
      m = _getMaxListeners(target);
      if (m > 0 && existing.length > m && !existing.warned) {
        existing.warned = true;
        var w = new Error("Possible EventEmitter memory leak detected. " + existing.length + " " + String(type) + " listeners added. Use emitter.setMaxListeners() to increase limit");
        w.name = "MaxListenersExceededWarning";
        w.emitter = target;
        w.type = type;
        w.count = existing.length;
        ProcessEmitWarning(w);
      }
    }
    return target;
  }
  EventEmitter2.prototype.addListener = function addListener(type, listener) {
    return _addListener(this, type, listener, false);
  };
  EventEmitter2.prototype.on = EventEmitter2.prototype.addListener;
  EventEmitter2.prototype.prependListener = function prependListener(type, listener) {
    return _addListener(this, type, listener, true);
  };
  function onceWrapper() {
    if (!this.fired) {
      this.target.removeListener(this.type, this.wrapFn);
      this.fired = true;
      if (arguments.length === 0)
        return this.listener.call(this.target);
      return this.listener.apply(this.target, arguments);
    }
  }
  function _onceWrap(target, type, listener) {
    var state = { fired: false, wrapFn: void 0, target, type, listener };
    var wrapped = onceWrapper.bind(state);
    wrapped.listener = listener;
    state.wrapFn = wrapped;
    return wrapped;
  }
  EventEmitter2.prototype.once = function once2(type, listener) {
    checkListener(listener);
    this.on(type, _onceWrap(this, type, listener));
    return this;
  };
  EventEmitter2.prototype.prependOnceListener = function prependOnceListener(type, listener) {
    checkListener(listener);
    this.prependListener(type, _onceWrap(this, type, listener));
    return this;
  };
  EventEmitter2.prototype.removeListener = function removeListener(type, listener) {
    var list, events2, position, i, originalListener;
    checkListener(listener);
    events2 = this._events;
    if (events2 === void 0)
      return this;
    list = events2[type];
    if (list === void 0)
      return this;
    if (list === listener || list.listener === listener) {
      if (--this._eventsCount === 0)
        this._events = /* @__PURE__ */ Object.create(null);
      else {
        delete events2[type];
        if (events2.removeListener)
          this.emit("removeListener", type, list.listener || listener);
      }
    } else if (typeof list !== "function") {
      position = -1;
      for (i = list.length - 1; i >= 0; i--) {
        if (list[i] === listener || list[i].listener === listener) {
          originalListener = list[i].listener;
          position = i;
          break;
        }
      }
      if (position < 0)
        return this;
      if (position === 0)
        list.shift();
      else {
        spliceOne(list, position);
      }
      if (list.length === 1)
        events2[type] = list[0];
      if (events2.removeListener !== void 0)
        this.emit("removeListener", type, originalListener || listener);
    }
    return this;
  };
  EventEmitter2.prototype.off = EventEmitter2.prototype.removeListener;
  EventEmitter2.prototype.removeAllListeners = function removeAllListeners(type) {
    var listeners, events2, i;
    events2 = this._events;
    if (events2 === void 0)
      return this;
    if (events2.removeListener === void 0) {
      if (arguments.length === 0) {
        this._events = /* @__PURE__ */ Object.create(null);
        this._eventsCount = 0;
      } else if (events2[type] !== void 0) {
        if (--this._eventsCount === 0)
          this._events = /* @__PURE__ */ Object.create(null);
        else
          delete events2[type];
      }
      return this;
    }
    if (arguments.length === 0) {
      var keys = Object.keys(events2);
      var key;
      for (i = 0; i < keys.length; ++i) {
        key = keys[i];
        if (key === "removeListener") continue;
        this.removeAllListeners(key);
      }
      this.removeAllListeners("removeListener");
      this._events = /* @__PURE__ */ Object.create(null);
      this._eventsCount = 0;
      return this;
    }
    listeners = events2[type];
    if (typeof listeners === "function") {
      this.removeListener(type, listeners);
    } else if (listeners !== void 0) {
      for (i = listeners.length - 1; i >= 0; i--) {
        this.removeListener(type, listeners[i]);
      }
    }
    return this;
  };
  function _listeners(target, type, unwrap) {
    var events2 = target._events;
    if (events2 === void 0)
      return [];
    var evlistener = events2[type];
    if (evlistener === void 0)
      return [];
    if (typeof evlistener === "function")
      return unwrap ? [evlistener.listener || evlistener] : [evlistener];
    return unwrap ? unwrapListeners(evlistener) : arrayClone(evlistener, evlistener.length);
  }
  EventEmitter2.prototype.listeners = function listeners(type) {
    return _listeners(this, type, true);
  };
  EventEmitter2.prototype.rawListeners = function rawListeners(type) {
    return _listeners(this, type, false);
  };
  EventEmitter2.listenerCount = function(emitter, type) {
    if (typeof emitter.listenerCount === "function") {
      return emitter.listenerCount(type);
    } else {
      return listenerCount.call(emitter, type);
    }
  };
  EventEmitter2.prototype.listenerCount = listenerCount;
  function listenerCount(type) {
    var events2 = this._events;
    if (events2 !== void 0) {
      var evlistener = events2[type];
      if (typeof evlistener === "function") {
        return 1;
      } else if (evlistener !== void 0) {
        return evlistener.length;
      }
    }
    return 0;
  }
  EventEmitter2.prototype.eventNames = function eventNames() {
    return this._eventsCount > 0 ? ReflectOwnKeys(this._events) : [];
  };
  function arrayClone(arr, n) {
    var copy = new Array(n);
    for (var i = 0; i < n; ++i)
      copy[i] = arr[i];
    return copy;
  }
  function spliceOne(list, index) {
    for (; index + 1 < list.length; index++)
      list[index] = list[index + 1];
    list.pop();
  }
  function unwrapListeners(arr) {
    var ret = new Array(arr.length);
    for (var i = 0; i < ret.length; ++i) {
      ret[i] = arr[i].listener || arr[i];
    }
    return ret;
  }
  function once(emitter, name) {
    return new Promise(function(resolve, reject) {
      function errorListener(err) {
        emitter.removeListener(name, resolver);
        reject(err);
      }
      function resolver() {
        if (typeof emitter.removeListener === "function") {
          emitter.removeListener("error", errorListener);
        }
        resolve([].slice.call(arguments));
      }
      eventTargetAgnosticAddListener(emitter, name, resolver, { once: true });
      if (name !== "error") {
        addErrorHandlerIfEventEmitter(emitter, errorListener, { once: true });
      }
    });
  }
  function addErrorHandlerIfEventEmitter(emitter, handler, flags) {
    if (typeof emitter.on === "function") {
      eventTargetAgnosticAddListener(emitter, "error", handler, flags);
    }
  }
  function eventTargetAgnosticAddListener(emitter, name, listener, flags) {
    if (typeof emitter.on === "function") {
      if (flags.once) {
        emitter.once(name, listener);
      } else {
        emitter.on(name, listener);
      }
    } else if (typeof emitter.addEventListener === "function") {
      emitter.addEventListener(name, function wrapListener(arg) {
        if (flags.once) {
          emitter.removeEventListener(name, wrapListener);
        }
        listener(arg);
      });
    } else {
      throw new TypeError('The "emitter" argument must be of type EventEmitter. Received type ' + typeof emitter);
    }
  }
  return events.exports;
}
var eventsExports = requireEvents();
var EventEmitter = /* @__PURE__ */ getDefaultExportFromCjs(eventsExports);
var errorCodes;
(function(errorCodes2) {
  errorCodes2[errorCodes2["timeout"] = 1] = "timeout";
  errorCodes2[errorCodes2["transportClosed"] = 2] = "transportClosed";
  errorCodes2[errorCodes2["clientDisconnected"] = 3] = "clientDisconnected";
  errorCodes2[errorCodes2["clientClosed"] = 4] = "clientClosed";
  errorCodes2[errorCodes2["clientConnectToken"] = 5] = "clientConnectToken";
  errorCodes2[errorCodes2["clientRefreshToken"] = 6] = "clientRefreshToken";
  errorCodes2[errorCodes2["subscriptionUnsubscribed"] = 7] = "subscriptionUnsubscribed";
  errorCodes2[errorCodes2["subscriptionSubscribeToken"] = 8] = "subscriptionSubscribeToken";
  errorCodes2[errorCodes2["subscriptionRefreshToken"] = 9] = "subscriptionRefreshToken";
  errorCodes2[errorCodes2["transportWriteError"] = 10] = "transportWriteError";
  errorCodes2[errorCodes2["connectionClosed"] = 11] = "connectionClosed";
  errorCodes2[errorCodes2["badConfiguration"] = 12] = "badConfiguration";
  errorCodes2[errorCodes2["subscriptionGetState"] = 13] = "subscriptionGetState";
  errorCodes2[errorCodes2["sharedPollGetSignature"] = 14] = "sharedPollGetSignature";
})(errorCodes || (errorCodes = {}));
var connectingCodes;
(function(connectingCodes2) {
  connectingCodes2[connectingCodes2["connectCalled"] = 0] = "connectCalled";
  connectingCodes2[connectingCodes2["transportClosed"] = 1] = "transportClosed";
  connectingCodes2[connectingCodes2["noPing"] = 2] = "noPing";
  connectingCodes2[connectingCodes2["subscribeTimeout"] = 3] = "subscribeTimeout";
  connectingCodes2[connectingCodes2["unsubscribeError"] = 4] = "unsubscribeError";
})(connectingCodes || (connectingCodes = {}));
var disconnectedCodes;
(function(disconnectedCodes2) {
  disconnectedCodes2[disconnectedCodes2["disconnectCalled"] = 0] = "disconnectCalled";
  disconnectedCodes2[disconnectedCodes2["unauthorized"] = 1] = "unauthorized";
  disconnectedCodes2[disconnectedCodes2["badProtocol"] = 2] = "badProtocol";
  disconnectedCodes2[disconnectedCodes2["messageSizeLimit"] = 3] = "messageSizeLimit";
  disconnectedCodes2[disconnectedCodes2["stateInvalidated"] = 3014] = "stateInvalidated";
})(disconnectedCodes || (disconnectedCodes = {}));
var subscribingCodes;
(function(subscribingCodes2) {
  subscribingCodes2[subscribingCodes2["subscribeCalled"] = 0] = "subscribeCalled";
  subscribingCodes2[subscribingCodes2["transportClosed"] = 1] = "transportClosed";
})(subscribingCodes || (subscribingCodes = {}));
var unsubscribedCodes;
(function(unsubscribedCodes2) {
  unsubscribedCodes2[unsubscribedCodes2["unsubscribeCalled"] = 0] = "unsubscribeCalled";
  unsubscribedCodes2[unsubscribedCodes2["unauthorized"] = 1] = "unauthorized";
  unsubscribedCodes2[unsubscribedCodes2["clientClosed"] = 2] = "clientClosed";
  unsubscribedCodes2[unsubscribedCodes2["stateInvalidated"] = 2502] = "stateInvalidated";
})(unsubscribedCodes || (unsubscribedCodes = {}));
var subscriptionFlags;
(function(subscriptionFlags2) {
  subscriptionFlags2[subscriptionFlags2["channelCompaction"] = 1] = "channelCompaction";
  subscriptionFlags2[subscriptionFlags2["rejectUnrecovered"] = 2] = "rejectUnrecovered";
})(subscriptionFlags || (subscriptionFlags = {}));
var State;
(function(State2) {
  State2["Disconnected"] = "disconnected";
  State2["Connecting"] = "connecting";
  State2["Connected"] = "connected";
})(State || (State = {}));
var SubscriptionState;
(function(SubscriptionState2) {
  SubscriptionState2["Unsubscribed"] = "unsubscribed";
  SubscriptionState2["Subscribing"] = "subscribing";
  SubscriptionState2["Subscribed"] = "subscribed";
})(SubscriptionState || (SubscriptionState = {}));
function startsWith(value, prefix) {
  return value.lastIndexOf(prefix, 0) === 0;
}
function isFunction(value) {
  if (value === void 0 || value === null) {
    return false;
  }
  return typeof value === "function";
}
function log(level, args) {
  if (environment.console) {
    const logger = environment.console[level];
    if (isFunction(logger)) {
      logger.apply(environment.console, args);
    }
  }
}
function randomInt(min, max) {
  return Math.floor(Math.random() * (max - min + 1) + min);
}
function backoff(step, min, max) {
  if (step > 31) {
    step = 31;
  }
  const interval = randomInt(0, Math.min(max, min * Math.pow(2, step)));
  return Math.min(max, min + interval);
}
function errorExists(data) {
  return "error" in data && data.error !== null;
}
function ttlMilliseconds(ttl) {
  return Math.min(ttl * 1e3, 2147483647);
}
function localStorageItem(key) {
  try {
    if (typeof localStorage === "undefined" || localStorage === null || !isFunction(localStorage.getItem)) {
      return null;
    }
    return localStorage.getItem(key);
  } catch (e) {
    return null;
  }
}
function hasOffset(offset) {
  return offset !== void 0 && offset !== null && Number(offset) > 0;
}
function toOffset(offset) {
  if (offset === void 0 || offset === null) {
    return 0;
  }
  if (typeof offset === "object") {
    const low = offset.low;
    const high = offset.high;
    if (typeof low === "number" && typeof high === "number") {
      return (high >>> 0) * 4294967296 + (low >>> 0);
    }
  }
  const value = Number(offset);
  return isNaN(value) ? 0 : value;
}
var MapPhase;
(function(MapPhase2) {
  MapPhase2[MapPhase2["Live"] = 0] = "Live";
  MapPhase2[MapPhase2["Stream"] = 1] = "Stream";
  MapPhase2[MapPhase2["State"] = 2] = "State";
})(MapPhase || (MapPhase = {}));
var BaseSubscription = class extends EventEmitter {
  /** Subscription constructor should not be used directly, create subscriptions using Client method. */
  constructor(centrifuge, channel, options) {
    super();
    this._resubscribeTimeout = null;
    this._refreshTimeout = null;
    this._pendingOffset = null;
    this._removed = false;
    this._getState = null;
    this._map = false;
    this._mapPresenceType = 1;
    this._mapPhase = null;
    this._mapStateBuffer = [];
    this._mapStreamBuffer = [];
    this._mapCursor = "";
    this._mapPageSize = 0;
    this._mapUnrecoverableStrategy = "from_scratch";
    this._mapPositionResets = 0;
    this._subscribeFlow = 0;
    this._refreshGeneration = 0;
    this._sharedPollReplayPending = false;
    this._stateTransitions = 0;
    this._sharedPollQueue = Promise.resolve();
    this._subscribeCallFlow = null;
    this._deferredUnsubscribe = null;
    this._mapFlowRecovering = false;
    this._mapFlowOffset = 0;
    this._mapFlowEpoch = null;
    this._mapFlowPositionResets = 0;
    this._debounceMs = 0;
    this._debouncePending = /* @__PURE__ */ new Map();
    this._sharedPoll = false;
    this._sharedPollEpoch = "";
    this._sharedPollTrackedItems = /* @__PURE__ */ new Map();
    this._sharedPollGetSignature = null;
    this._sharedPollSignatureRefreshTimeout = null;
    this._sharedPollSignatureRefreshAttempts = 0;
    this._sharedPollTrackRetryTimeout = null;
    this._sharedPollTrackRetryAttempts = 0;
    this._sharedPollReplayRetryTimeout = null;
    this._sharedPollReplayRetryAttempts = 0;
    this._sharedPollSignatures = [];
    this._sharedPollSignatureRefreshTargetMs = null;
    this._sharedPollSignatureRefreshInFlight = false;
    this._sharedPollSignatureRefreshAgain = false;
    this._sharedPollSignatureRefreshKeys = /* @__PURE__ */ new Set();
    this.channel = channel;
    this.state = SubscriptionState.Unsubscribed;
    this._centrifuge = centrifuge;
    this._token = "";
    this._getToken = null;
    this._data = null;
    this._getData = null;
    this._recover = false;
    this._offset = null;
    this._epoch = null;
    this._id = 0;
    this._recoverable = false;
    this._positioned = false;
    this._joinLeave = false;
    this._minResubscribeDelay = 500;
    this._maxResubscribeDelay = 2e4;
    this._resubscribeTimeout = null;
    this._resubscribeAttempts = 0;
    this._promises = {};
    this._promiseId = 0;
    this._inflight = false;
    this._refreshTimeout = null;
    this._delta = "";
    this._delta_negotiated = false;
    this._tagsFilter = null;
    this._prevValueMap = /* @__PURE__ */ new Map();
    this._unsubPromise = Promise.resolve();
    this._deltaNumPubs = 0;
    this._deltaNumFull = 0;
    this._deltaNumDelta = 0;
    this._deltaBytesReceived = 0;
    this._deltaBytesDecoded = 0;
    this._setOptions(options);
    this.type = this._sharedPoll ? "shared_poll" : this._map ? "map" : "stream";
    if (this._centrifuge._debugEnabled) {
      this.on("state", (ctx) => {
        this._debug("subscription state", channel, ctx.oldState, "->", ctx.newState);
      });
      this.on("error", (ctx) => {
        this._debug("subscription error", channel, ctx);
      });
    } else {
      this.on("error", function() {
        Function.prototype();
      });
    }
  }
  /** ready returns a Promise which resolves upon subscription goes to Subscribed
   * state and rejects in case of subscription goes to Unsubscribed state.
   * Optional timeout can be passed.*/
  ready(timeout2) {
    if (this.state === SubscriptionState.Unsubscribed) {
      return Promise.reject({ code: errorCodes.subscriptionUnsubscribed, message: this.state });
    }
    if (this.state === SubscriptionState.Subscribed) {
      return Promise.resolve();
    }
    return new Promise((res, rej) => {
      const id = this._nextPromiseId();
      const ctx = {
        resolve: res,
        reject: rej
      };
      if (timeout2) {
        ctx.timeout = setTimeout(() => {
          delete this._promises[id];
          rej({ code: errorCodes.timeout, message: "timeout" });
        }, timeout2);
      }
      this._promises[id] = ctx;
    });
  }
  /** subscribe to a channel.*/
  subscribe() {
    if (this._removed) {
      throw new Error("Subscription to the channel " + this.channel + " was removed from the client");
    }
    if (this._isSubscribed()) {
      return;
    }
    if (this._isUnsubscribed()) {
      this._resubscribeAttempts = 0;
    }
    this._setSubscribing(subscribingCodes.subscribeCalled, "subscribe called");
  }
  /** unsubscribe from a channel, keeping position state.*/
  unsubscribe() {
    this._setUnsubscribed(unsubscribedCodes.unsubscribeCalled, "unsubscribe called", true);
  }
  _debouncedPublish(key, data, isMap) {
    const existing = this._debouncePending.get(key);
    if (existing) {
      existing.data = data;
      existing.dirty = true;
      return Promise.resolve({});
    }
    const entry = { data, dirty: false, timer: null };
    entry.timer = setTimeout(() => {
      const pending = this._debouncePending.get(key);
      if (!pending || !pending.dirty) {
        this._debouncePending.delete(key);
        return;
      }
      pending.dirty = false;
      const sendData = pending.data;
      const sendFn2 = isMap ? this._centrifuge.mapPublish(this.channel, key, sendData) : this._centrifuge.publish(this.channel, sendData);
      sendFn2.catch(() => {
      });
      pending.timer = setTimeout(() => {
        const p = this._debouncePending.get(key);
        if (!p || !p.dirty) {
          this._debouncePending.delete(key);
          return;
        }
        this._debouncePending.delete(key);
        this._debouncedPublish(key, p.data, isMap).catch(() => {
        });
      }, this._debounceMs);
    }, this._debounceMs);
    this._debouncePending.set(key, entry);
    const sendFn = isMap ? this._centrifuge.mapPublish(this.channel, key, data) : this._centrifuge.publish(this.channel, data);
    return sendFn;
  }
  _cancelDebounce(key) {
    const existing = this._debouncePending.get(key);
    if (existing) {
      clearTimeout(existing.timer);
      this._debouncePending.delete(key);
    }
  }
  _cancelAllDebounce() {
    for (const [, entry] of this._debouncePending) {
      clearTimeout(entry.timer);
    }
    this._debouncePending.clear();
  }
  /** get online presence for a channel.*/
  presence() {
    return __awaiter(this, void 0, void 0, function* () {
      yield this._methodCall();
      return this._centrifuge.presence(this.channel);
    });
  }
  /** presence stats for a channel (num clients and unique users).*/
  presenceStats() {
    return __awaiter(this, void 0, void 0, function* () {
      yield this._methodCall();
      return this._centrifuge.presenceStats(this.channel);
    });
  }
  /**
   * Sets server-side tags filter for the subscription.
   * This only applies on the next subscription attempt, not the current one.
   * Cannot be used together with delta option.
   *
   * @param tagsFilter - Filter configuration object or null to remove filter
   * @throws {Error} If both delta and tagsFilter are configured
   *
   * @example
   * ```typescript
   * // Simple equality filter
   * sub.setTagsFilter({
   *   key: 'ticker',
   *   cmp: 'eq',
   *   val: 'BTC'
   * });
   * ```
   *
   * @example
   * ```typescript
   * // Complex filter with logical operators
   * sub.setTagsFilter({
   *   op: 'and',
   *   nodes: [
   *     { key: 'ticker', cmp: 'eq', val: 'BTC' },
   *     { key: 'price', cmp: 'gt', val: '50000' }
   *   ]
   * });
   * ```
   *
   * @example
   * ```typescript
   * // Filter with IN operator
   * sub.setTagsFilter({
   *   key: 'ticker',
   *   cmp: 'in',
   *   vals: ['BTC', 'ETH', 'SOL']
   * });
   * ```
   */
  setTagsFilter(tagsFilter) {
    if (tagsFilter && this._delta) {
      throw new Error("cannot use delta and tagsFilter together");
    }
    this._tagsFilter = tagsFilter;
    if (this._map) {
      this._recover = false;
      this._offset = null;
      this._epoch = null;
      this._mapPositionResets++;
    }
  }
  /** setData allows setting subscription data. This only applied on the next subscription attempt,
   * Note that if getData callback is configured, it will override this value during resubscriptions. */
  setData(data) {
    this._data = data;
  }
  /** deltaStats returns delta compression statistics for this subscription.
   * Only meaningful when delta compression is enabled (delta: 'fossil'). */
  deltaStats() {
    const bytesDecoded = this._deltaBytesDecoded;
    return {
      numPublications: this._deltaNumPubs,
      numFullPayloads: this._deltaNumFull,
      numDeltaPayloads: this._deltaNumDelta,
      bytesReceived: this._deltaBytesReceived,
      bytesDecoded,
      compressionRatio: bytesDecoded > 0 ? 1 - this._deltaBytesReceived / bytesDecoded : 0
    };
  }
  _methodCall() {
    if (this._isSubscribed()) {
      return Promise.resolve();
    }
    if (this._isUnsubscribed()) {
      return Promise.reject({
        code: errorCodes.subscriptionUnsubscribed,
        message: this.state
      });
    }
    return new Promise((resolve, reject) => {
      const timeoutDuration = this._centrifuge._config.timeout;
      const id = this._nextPromiseId();
      const timeout2 = setTimeout(() => {
        delete this._promises[id];
        reject({ code: errorCodes.timeout, message: "timeout" });
      }, timeoutDuration);
      this._promises[id] = {
        timeout: timeout2,
        resolve,
        reject
      };
    });
  }
  _nextPromiseId() {
    return ++this._promiseId;
  }
  _needRecover() {
    return this._recover === true;
  }
  _isUnsubscribed() {
    return this.state === SubscriptionState.Unsubscribed;
  }
  _isSubscribing() {
    return this.state === SubscriptionState.Subscribing;
  }
  _isSubscribed() {
    return this.state === SubscriptionState.Subscribed;
  }
  _setState(newState) {
    if (this.state !== newState) {
      const oldState = this.state;
      this.state = newState;
      this._stateTransitions++;
      this.emit("state", { newState, oldState, channel: this.channel });
      return true;
    }
    return false;
  }
  _usesToken() {
    return this._token !== "" || this._getToken !== null;
  }
  _clearSubscribingState() {
    this._resubscribeAttempts = 0;
    this._clearResubscribeTimeout();
  }
  _clearSubscribedState() {
    this._clearRefreshTimeout();
    this._refreshGeneration++;
    this._cancelAllDebounce();
    this._clearSharedPollSignatureRefresh();
    this._clearSharedPollTrackRetry();
    this._clearSharedPollReplayRetry();
    this._sharedPollSignatureRefreshTargetMs = null;
    this._sharedPollSignatureRefreshInFlight = false;
    this._sharedPollSignatureRefreshAgain = false;
  }
  /** Called on "state invalidated" — unsubscribe code 2502 for this channel,
   *  or connection disconnect code 3014. Clears the token when getToken is set
   *  (next subscribe fetches a fresh one) and the fossil delta base (every
   *  subscription type uses _prevValueMap; a stale base would corrupt decoding
   *  of the first publication after re-subscribe).
   *
   *  Without getToken there is no new token to get: the subscription keeps the
   *  token it has (or none) and resubscribes with it. The server rejects it if
   *  it's no longer valid.
   *
   *  Map subscriptions restart from scratch: their recovery position and
   *  materialized-state buffers are dropped so the next subscribe does a full
   *  STATE re-sync.
   *
   *  Stream/shared-poll subscriptions instead reset the recovery position to a
   *  sentinel epoch ("_") the server can never match (offset 0), leaving
   *  _recover untouched: a recoverable subscription then resubscribes with
   *  was_recovering=true, recovered=false (so the app reloads via its existing
   *  recovery-failure path rather than treating it as a brand-new first
   *  subscribe), while a non-recoverable one simply resubscribes. The real
   *  epoch/offset are adopted from the subscribe reply. */
  _invalidateState() {
    if (this._getToken !== null) {
      this._token = "";
    }
    this._prevValueMap = /* @__PURE__ */ new Map();
    if (this._map) {
      this._offset = null;
      this._epoch = null;
      this._recover = false;
      this._mapPositionResets++;
      this._mapStateBuffer = [];
      this._mapStreamBuffer = [];
      this._mapCursor = "";
      this._mapPhase = null;
    } else if (this._offset !== null) {
      this._offset = 0;
      this._epoch = "_";
    }
  }
  _setSubscribed(result) {
    if (!this._isSubscribing()) {
      return;
    }
    this._clearSubscribingState();
    if (result.id) {
      this._id = result.id;
    }
    if (result.recoverable) {
      this._recover = true;
      this._offset = toOffset(result.offset);
      this._epoch = result.epoch || "";
    } else {
      this._recover = false;
    }
    if (result.delta) {
      this._delta_negotiated = true;
    } else {
      this._delta_negotiated = false;
    }
    if (result.publish_debounce) {
      this._debounceMs = result.publish_debounce;
    }
    if (this._sharedPoll) {
      const newEpoch = result.epoch || "";
      if (this._sharedPollEpoch !== "" && this._sharedPollEpoch !== newEpoch) {
        for (const key of this._sharedPollTrackedItems.keys()) {
          this._sharedPollTrackedItems.set(key, 0);
        }
      }
      this._sharedPollEpoch = newEpoch;
    }
    this._setState(SubscriptionState.Subscribed);
    if (!this._isSubscribed()) {
      return;
    }
    const ctx = this._centrifuge._getSubscribeContext(this.channel, result);
    this.emit("subscribed", ctx);
    if (!this._isSubscribed()) {
      return;
    }
    this._resolvePromises();
    const pubs = result.publications || [];
    for (let i = 0; i < pubs.length && this._isSubscribed(); i++) {
      this._handlePublication(pubs[i]);
    }
    if (result.expires === true && this._isSubscribed()) {
      this._refreshTimeout = setTimeout(() => this._refresh(), ttlMilliseconds(result.ttl));
    }
  }
  _setSubscribing(code, reason) {
    return __awaiter(this, void 0, void 0, function* () {
      if (this._isSubscribing()) {
        return;
      }
      if (this._isSubscribed()) {
        this._clearSubscribedState();
      }
      this._id = 0;
      const transition = this._stateTransitions + 1;
      if (this._setState(SubscriptionState.Subscribing) && this._stateTransitions === transition) {
        this.emit("subscribing", { channel: this.channel, code, reason });
      }
      if (this._centrifuge._transport && this._centrifuge._transport.emulation()) {
        yield this._unsubPromise;
        yield this._centrifuge._removedSubscriptionUnsubscribed(this.channel);
        yield this._sharedPollQueue;
      }
      if (!this._isSubscribing()) {
        return;
      }
      this._subscribe();
    });
  }
  _subscribe() {
    this._debug("subscribing on", this.channel);
    if (!this._isTransportOpen()) {
      this._debug("delay subscribe on", this.channel, "till connected");
      return null;
    }
    if (this._inflight) {
      return null;
    }
    this._inflight = true;
    if (this._map) {
      this._mapSubscribe();
      return null;
    }
    const flow = this._subscribeFlow;
    if (this._getState && this._offset === null) {
      this._loadStreamState(flow);
      return null;
    }
    if (this._canSubscribeWithoutGettingToken()) {
      return this._subscribeWithoutToken(flow);
    }
    this._getSubscriptionToken().then((token) => this._handleTokenResponse(token, flow)).catch((e) => this._handleTokenError(e, flow));
    return null;
  }
  _flowOutdated(flow) {
    return flow !== this._subscribeFlow;
  }
  // Over emulation commands go in separate requests the server may handle in any
  // order: an unsubscribe of a subscribe in flight could overtake it, and the
  // server would keep the subscription. The unsubscribe waits for the
  // subscribe's reply then.
  _mustDeferUnsubscribe() {
    const transport = this._centrifuge._transport;
    return this._subscribeCallFlow === this._subscribeFlow && !!transport && transport.emulation();
  }
  // Called first by the reply handlers of a subscribe command or map page. True
  // when the reply belongs to a subscribe whose unsubscribe was deferred, which is
  // handled here: the unsubscribe goes out if the subscribe succeeded. A timeout
  // leaves unknown whether the server subscribed: the client reconnects.
  _settleSubscribeCall(flow, ok, error) {
    if (this._subscribeCallFlow === flow) {
      this._subscribeCallFlow = null;
    }
    const deferred = this._deferredUnsubscribe;
    if (deferred === null || deferred.flow !== flow) {
      return false;
    }
    this._deferredUnsubscribe = null;
    if (ok) {
      this._centrifuge._unsubscribe(this).then(deferred.resolve);
      return true;
    }
    deferred.resolve();
    if (error && error.code === errorCodes.timeout) {
      this._centrifuge._disconnect(connectingCodes.subscribeTimeout, "subscribe timeout", true);
    }
    return true;
  }
  _isTransportOpen() {
    return this._centrifuge._transportIsOpen;
  }
  _canSubscribeWithoutGettingToken() {
    return !this._usesToken() || !!this._token;
  }
  _subscribeWithoutToken(flow) {
    if (this._getData) {
      this._getDataAndSubscribe(this._token, flow);
      return null;
    } else {
      return this._sendSubscribe(this._token);
    }
  }
  /** Load stream position from app via getState callback, then proceed to subscribe
   * with recovery from that position. Called only when _offset is null:
   * - Initial subscribe (no saved position)
   * - After position reset due to failed recovery (see _setSubscribed)
   *
   * NOT called on normal reconnects where the SDK has a saved position — in that
   * case recovery is attempted first, and getState is only invoked if recovery fails.
   *
   * The app's getState callback should:
   * 1. Read cf_stream_top_position (or equivalent) FIRST to capture the stream position
   * 2. Then read its own data from the database/API
   * 3. Render/update the UI
   * 4. Return the captured stream position
   *
   * This order is critical: reading position first ensures it's a lower bound.
   * Recovered publications may overlap with data the app already loaded — this
   * requires idempotent updates or offset-based dedup. */
  _loadStreamState(flow) {
    if (!this._isSubscribing()) {
      this._inflight = false;
      return;
    }
    this._callAsync(() => this._getState()).then((result) => {
      if (this._flowOutdated(flow)) {
        return;
      }
      if (!this._isSubscribing()) {
        this._inflight = false;
        return;
      }
      this._offset = toOffset(result.offset);
      this._epoch = result.epoch;
      this._recover = true;
      if (this._canSubscribeWithoutGettingToken()) {
        this._subscribeWithoutToken(flow);
      } else {
        this._getSubscriptionToken().then((token) => this._handleTokenResponse(token, flow)).catch((e) => this._handleTokenError(e, flow));
      }
    }).catch((e) => {
      if (this._flowOutdated(flow)) {
        return;
      }
      if (!this._isSubscribing()) {
        this._inflight = false;
        return;
      }
      this._inflight = false;
      this._subscribeError({
        code: errorCodes.subscriptionGetState,
        message: (e === null || e === void 0 ? void 0 : e.toString()) || "getState failed",
        temporary: true
      });
    });
  }
  _getDataAndSubscribe(token, flow) {
    if (!this._getData) {
      this._inflight = false;
      return;
    }
    this._callAsync(() => this._getData({ channel: this.channel })).then((data) => {
      if (this._flowOutdated(flow)) {
        return;
      }
      if (!this._isSubscribing()) {
        this._inflight = false;
        return;
      }
      this._data = data;
      this._sendSubscribe(token);
    }).catch((e) => this._handleGetDataError(e, flow));
  }
  _handleGetDataError(error, flow) {
    if (this._flowOutdated(flow)) {
      return;
    }
    if (!this._isSubscribing()) {
      this._inflight = false;
      return;
    }
    if (error instanceof UnauthorizedError) {
      this._inflight = false;
      this._failUnauthorized();
      return;
    }
    this._emitError({
      type: "subscribeData",
      channel: this.channel,
      error: {
        code: errorCodes.badConfiguration,
        message: (error === null || error === void 0 ? void 0 : error.toString()) || ""
      }
    }, () => {
      this._inflight = false;
      this._scheduleResubscribe();
    });
  }
  _handleTokenResponse(token, flow) {
    if (this._flowOutdated(flow)) {
      return;
    }
    if (!this._isSubscribing()) {
      this._inflight = false;
      return;
    }
    if (!token) {
      this._inflight = false;
      this._failUnauthorized();
      return;
    }
    this._token = token;
    if (this._getData) {
      this._getDataAndSubscribe(token, flow);
    } else {
      this._sendSubscribe(token);
    }
  }
  _handleTokenError(error, flow) {
    if (this._flowOutdated(flow)) {
      return;
    }
    if (!this._isSubscribing()) {
      this._inflight = false;
      return;
    }
    if (error instanceof UnauthorizedError) {
      this._inflight = false;
      this._failUnauthorized();
      return;
    }
    this._emitError({
      type: "subscribeToken",
      channel: this.channel,
      error: {
        code: errorCodes.subscriptionSubscribeToken,
        message: (error === null || error === void 0 ? void 0 : error.toString()) || ""
      }
    }, () => {
      this._inflight = false;
      this._scheduleResubscribe();
    });
  }
  _sendSubscribe(token) {
    if (!this._isTransportOpen()) {
      this._inflight = false;
      return null;
    }
    const cmd = this._buildSubscribeCommand(token);
    const flow = this._subscribeFlow;
    this._subscribeCallFlow = flow;
    this._centrifuge._call(cmd).then((resolveCtx) => {
      try {
        if (this._settleSubscribeCall(flow, true)) {
          return;
        }
        if (flow !== this._subscribeFlow) {
          return;
        }
        this._inflight = false;
        this._handleSubscribeResponse(resolveCtx.reply.subscribe);
      } catch (err) {
        this._centrifuge._dispatchFailed(err);
      } finally {
        if (resolveCtx.next) {
          resolveCtx.next();
        }
      }
    }, (rejectCtx) => {
      try {
        if (this._settleSubscribeCall(flow, false, rejectCtx.error)) {
          return;
        }
        if (flow !== this._subscribeFlow) {
          return;
        }
        this._inflight = false;
        this._handleSubscribeError(rejectCtx.error);
      } catch (err) {
        this._centrifuge._rejectionFailed(err, rejectCtx);
      } finally {
        if (rejectCtx.next) {
          rejectCtx.next();
        }
      }
    });
    return cmd;
  }
  _buildSubscribeCommand(token) {
    const req = { channel: this.channel };
    if (token)
      req.token = token;
    if (this._data)
      req.data = this._data;
    if (this._sharedPoll) {
      req.type = 4;
      if (this._delta)
        req.delta = this._delta;
      return { subscribe: req };
    }
    if (this._positioned)
      req.positioned = true;
    if (this._recoverable)
      req.recoverable = true;
    if (this._joinLeave)
      req.join_leave = true;
    req.flag = subscriptionFlags.channelCompaction;
    if (this._getState) {
      req.flag |= subscriptionFlags.rejectUnrecovered;
    }
    if (this._needRecover()) {
      req.recover = true;
      const offset = this._getOffset();
      if (offset)
        req.offset = offset;
      const epoch = this._getEpoch();
      if (epoch)
        req.epoch = epoch;
    }
    if (this._delta)
      req.delta = this._delta;
    if (this._tagsFilter)
      req.tf = this._tagsFilter;
    return { subscribe: req };
  }
  _debug(...args) {
    this._centrifuge._debug(...args);
  }
  /** @internal An exception escaping a handler stops the client: see Centrifuge._handlerFailed. */
  emit(event, ...args) {
    try {
      return EventEmitter.prototype.emit.call(this, event, ...args);
    } catch (e) {
      this._centrifuge._handlerFailed(e);
      return true;
    }
  }
  _handleSubscribeError(error) {
    if (!this._isSubscribing()) {
      return;
    }
    if (error.code === errorCodes.connectionClosed) {
      return;
    }
    if (error.code === errorCodes.timeout) {
      this._centrifuge._disconnect(connectingCodes.subscribeTimeout, "subscribe timeout", true);
      return;
    }
    if (error.code === 112 && this._getState) {
      this._offset = null;
      this._epoch = null;
      this._recover = false;
      this._prevValueMap = /* @__PURE__ */ new Map();
      this._scheduleResubscribe();
      return;
    }
    this._subscribeError(error);
  }
  _handleSubscribeResponse(result) {
    if (!this._isSubscribing()) {
      return;
    }
    this._sharedPollReplayPending = this._sharedPoll;
    try {
      this._setSubscribed(result);
    } finally {
      this._sharedPollReplayPending = false;
    }
    if (this._sharedPoll) {
      this._sharedPollReplayTrack();
    }
  }
  _setUnsubscribed(code, reason, sendUnsubscribe) {
    if (this._isUnsubscribed()) {
      return Promise.resolve();
    }
    let promise = Promise.resolve();
    if (this._isSubscribed()) {
      if (sendUnsubscribe) {
        promise = this._unsubPromise = this._centrifuge._unsubscribe(this);
      }
      this._clearSubscribedState();
    } else if (this._isSubscribing()) {
      if (this._inflight && sendUnsubscribe) {
        if (this._mustDeferUnsubscribe()) {
          const flow = this._subscribeFlow;
          promise = this._unsubPromise = new Promise((resolve) => {
            this._deferredUnsubscribe = { flow, resolve };
          });
        } else {
          promise = this._unsubPromise = this._centrifuge._unsubscribe(this);
        }
      }
      this._clearSubscribingState();
    }
    this._inflight = false;
    this._subscribeFlow++;
    this._id = 0;
    this._sharedPollEpoch = "";
    this._sharedPollSignatures = [];
    this._sharedPollTrackedItems.clear();
    this._sharedPollSignatureRefreshInFlight = false;
    this._sharedPollSignatureRefreshAgain = false;
    this._sharedPollSignatureRefreshTargetMs = null;
    this._cancelAllDebounce();
    this._rejectPromises({ code: errorCodes.subscriptionUnsubscribed, message: SubscriptionState.Unsubscribed });
    const transition = this._stateTransitions + 1;
    if (this._setState(SubscriptionState.Unsubscribed) && this._stateTransitions === transition) {
      this.emit("unsubscribed", { channel: this.channel, code, reason });
    }
    return promise;
  }
  _handlePublication(pub) {
    if (this._sharedPoll && pub.key && !pub.removed && hasOffset(pub.version)) {
      const known = this._sharedPollTrackedItems.get(pub.key);
      if (known !== void 0 && known > 0 && toOffset(pub.version) <= known) {
        return;
      }
    }
    if (this._delta && this._delta_negotiated) {
      const deltaKey = this._map || this._sharedPoll ? pub.key || "" : "";
      if (pub.removed) {
        this._prevValueMap.delete(deltaKey);
      } else {
        const { newData, newPrevValue, isDelta, wireBytes, fullBytes } = this._centrifuge._codec.applyDeltaIfNeeded(pub, this._prevValueMap.get(deltaKey));
        pub.data = newData;
        this._deltaNumPubs++;
        this._deltaBytesReceived += wireBytes;
        this._deltaBytesDecoded += fullBytes;
        if (isDelta) {
          this._deltaNumDelta++;
        } else {
          this._deltaNumFull++;
        }
        this._prevValueMap.set(deltaKey, newPrevValue);
      }
    }
    let ctx;
    if (this._sharedPoll) {
      if (pub.key && !this._sharedPollTrackedItems.has(pub.key)) {
        return;
      }
      ctx = this._getSharedPollUpdateContext(pub);
    } else if (this._map) {
      ctx = this._getMapUpdateContext(pub);
    } else {
      ctx = this._centrifuge._getPublicationContext(this.channel, pub);
    }
    if (this._map || this._sharedPoll) {
      this.emit("publication", ctx);
      if (!this._isSubscribed()) {
        return;
      }
      this._setPublicationPosition(pub);
      this.emit("update", ctx);
    } else {
      this._pendingOffset = hasOffset(pub.offset) ? toOffset(pub.offset) : null;
      const failures = this._centrifuge._handlerFailures;
      try {
        this.emit("publication", ctx);
      } finally {
        this._pendingOffset = null;
      }
      if (this._centrifuge._handlerFailures !== failures) {
        return;
      }
      this._setPublicationPosition(pub);
    }
  }
  _setPublicationPosition(pub) {
    if (this._sharedPoll && pub.key && this._sharedPollTrackedItems.has(pub.key)) {
      if (pub.removed) {
        this._sharedPollTrackedItems.delete(pub.key);
      } else if (pub.version) {
        this._sharedPollTrackedItems.set(pub.key, toOffset(pub.version));
      }
    }
    if (hasOffset(pub.offset)) {
      this._offset = toOffset(pub.offset);
    }
    if (pub.epoch) {
      this._epoch = pub.epoch;
    }
  }
  /** Seed per-key delta tracking from state/stream entries.
   * Handles JSON-escaped data (server-side delta escaping) and protobuf data.
   * Decodes escaped data back to original format for user consumption.
   * Values are escaped only when delta is negotiated: otherwise they come as
   * they are, and a string value must not be parsed. */
  _seedDeltaTracking(pub, deltaNegotiated) {
    if (!this._delta || !pub.key)
      return;
    if (pub.removed) {
      this._prevValueMap.delete(pub.key);
      return;
    }
    if (!deltaNegotiated) {
      this._prevValueMap.set(pub.key, pub.data);
      return;
    }
    if (typeof pub.data === "string") {
      const rawBytes = pub.data;
      const encoded = new TextEncoder().encode(rawBytes);
      this._prevValueMap.set(pub.key, encoded);
      const byteLen = encoded.length;
      this._deltaNumPubs++;
      this._deltaNumFull++;
      this._deltaBytesReceived += byteLen;
      this._deltaBytesDecoded += byteLen;
      pub.data = JSON.parse(rawBytes);
    } else if (pub.data instanceof Uint8Array) {
      this._prevValueMap.set(pub.key, pub.data);
      const byteLen = pub.data.length;
      this._deltaNumPubs++;
      this._deltaNumFull++;
      this._deltaBytesReceived += byteLen;
      this._deltaBytesDecoded += byteLen;
    }
  }
  _handleJoin(join) {
    const info = this._centrifuge._getJoinLeaveContext(join.info);
    this.emit("join", { channel: this.channel, info });
  }
  _handleLeave(leave) {
    const info = this._centrifuge._getJoinLeaveContext(leave.info);
    this.emit("leave", { channel: this.channel, info });
  }
  _resolvePromises() {
    for (const id in this._promises) {
      if (!this._promises.hasOwnProperty(id)) {
        continue;
      }
      if (this._promises[id].timeout) {
        clearTimeout(this._promises[id].timeout);
      }
      this._promises[id].resolve();
      delete this._promises[id];
    }
  }
  _rejectPromises(err) {
    for (const id in this._promises) {
      if (!this._promises.hasOwnProperty(id)) {
        continue;
      }
      if (this._promises[id].timeout) {
        clearTimeout(this._promises[id].timeout);
      }
      this._promises[id].reject(err);
      delete this._promises[id];
    }
  }
  _scheduleResubscribe() {
    if (!this._isSubscribing()) {
      this._debug("not in subscribing state, skip resubscribe scheduling", this.channel);
      return;
    }
    const self = this;
    const delay = this._getResubscribeDelay();
    this._clearResubscribeTimeout();
    this._resubscribeTimeout = setTimeout(function() {
      self._resubscribeTimeout = null;
      if (self._isSubscribing()) {
        self._subscribe();
      }
    }, delay);
    this._debug("resubscribe scheduled after " + delay, this.channel);
  }
  // Emits an error event, then runs the continuation: not when a handler unsubscribed,
  // maybe to subscribe again, whose new subscribe the continuation must not touch.
  _emitError(ctx, continuation) {
    const flow = this._subscribeFlow;
    try {
      this.emit("error", ctx);
    } finally {
      if (flow === this._subscribeFlow) {
        continuation();
      }
    }
  }
  _subscribeError(err) {
    if (!this._isSubscribing()) {
      return;
    }
    if (err.code === 109 && this._getToken === null) {
      try {
        this.emit("error", {
          type: "configuration",
          channel: this.channel,
          error: {
            code: errorCodes.badConfiguration,
            message: "subscription token expired but no getToken function set"
          }
        });
      } catch (e) {
        this._centrifuge._reportDispatchError(e);
      }
      this._setUnsubscribed(unsubscribedCodes.unauthorized, "unauthorized", false);
      return;
    }
    if (err.code < 100 || err.code === 109 || err.temporary === true) {
      if (err.code === 109) {
        this._token = "";
      }
      const errContext = {
        channel: this.channel,
        type: "subscribe",
        error: err
      };
      if (this._centrifuge.state === State.Connected) {
        this._emitError(errContext, () => this._scheduleResubscribe());
      } else {
        this._scheduleResubscribe();
      }
    } else {
      this._setUnsubscribed(err.code, err.message, false);
    }
  }
  _getResubscribeDelay() {
    const delay = backoff(this._resubscribeAttempts, this._minResubscribeDelay, this._maxResubscribeDelay);
    this._resubscribeAttempts++;
    return delay;
  }
  _setOptions(options) {
    if (!options) {
      return;
    }
    if (options.since) {
      this._offset = toOffset(options.since.offset);
      this._epoch = options.since.epoch || "";
      this._recover = true;
    }
    if (options.data) {
      this._data = options.data;
    }
    if (options.getData) {
      this._getData = options.getData;
    }
    if (options.minResubscribeDelay !== void 0) {
      this._minResubscribeDelay = options.minResubscribeDelay;
    }
    if (options.maxResubscribeDelay !== void 0) {
      this._maxResubscribeDelay = options.maxResubscribeDelay;
    }
    if (options.token) {
      this._token = options.token;
    }
    if (options.getToken) {
      this._getToken = options.getToken;
    }
    if (options.positioned === true) {
      this._positioned = true;
    }
    if (options.recoverable === true) {
      this._recoverable = true;
    }
    if (options.joinLeave === true) {
      this._joinLeave = true;
    }
    if (options.delta) {
      if (options.delta !== "fossil") {
        throw new Error("unsupported delta format");
      }
      this._delta = options.delta;
    }
    if (options.tagsFilter) {
      this._tagsFilter = options.tagsFilter;
    }
    if (this._tagsFilter && this._delta) {
      throw new Error("cannot use delta and tagsFilter together");
    }
    if (options.getState) {
      this._getState = options.getState;
      this._recover = true;
    }
    if (options.map === true) {
      this._map = true;
    }
    if (options.mapPageSize !== void 0) {
      this._mapPageSize = options.mapPageSize;
    }
    if (options.mapPresenceType !== void 0) {
      this._mapPresenceType = options.mapPresenceType;
      this._map = true;
    }
    if (options.mapUnrecoverableStrategy) {
      this._mapUnrecoverableStrategy = options.mapUnrecoverableStrategy;
    }
    if (options.sharedPoll === true) {
      this._sharedPoll = true;
    }
    if (options.sharedPollGetSignature) {
      this._sharedPollGetSignature = options.sharedPollGetSignature;
    }
  }
  _getOffset() {
    if (this._pendingOffset !== null) {
      return this._pendingOffset;
    }
    const offset = this._offset;
    if (offset !== null) {
      return offset;
    }
    return 0;
  }
  _getEpoch() {
    const epoch = this._epoch;
    if (epoch !== null) {
      return epoch;
    }
    return "";
  }
  _clearRefreshTimeout() {
    if (this._refreshTimeout !== null) {
      clearTimeout(this._refreshTimeout);
      this._refreshTimeout = null;
    }
  }
  _clearResubscribeTimeout() {
    if (this._resubscribeTimeout !== null) {
      clearTimeout(this._resubscribeTimeout);
      this._resubscribeTimeout = null;
    }
  }
  _getSubscriptionToken() {
    this._debug("get subscription token for channel", this.channel);
    const ctx = {
      channel: this.channel
    };
    const getToken = this._getToken;
    if (getToken === null) {
      try {
        this.emit("error", {
          type: "configuration",
          channel: this.channel,
          error: {
            code: errorCodes.badConfiguration,
            message: "provide a function to get channel subscription token"
          }
        });
      } catch (e) {
        this._centrifuge._reportDispatchError(e);
      }
      return Promise.reject(new UnauthorizedError(""));
    }
    return this._callAsync(() => getToken(ctx));
  }
  _refresh() {
    this._clearRefreshTimeout();
    const self = this;
    const generation = this._refreshGeneration;
    this._getSubscriptionToken().then(function(token) {
      if (generation !== self._refreshGeneration || !self._isSubscribed()) {
        return;
      }
      if (!token) {
        self._failUnauthorized();
        return;
      }
      self._token = token;
      const req = {
        channel: self.channel,
        token
      };
      const msg = {
        "sub_refresh": req
      };
      self._centrifuge._call(msg).then((resolveCtx) => {
        try {
          self._refreshResponse(resolveCtx.reply.sub_refresh);
        } catch (err) {
          self._centrifuge._dispatchFailed(err);
        } finally {
          if (resolveCtx.next) {
            resolveCtx.next();
          }
        }
      }, (rejectCtx) => {
        try {
          self._refreshError(rejectCtx.error);
        } catch (err) {
          self._centrifuge._rejectionFailed(err, rejectCtx);
        } finally {
          if (rejectCtx.next) {
            rejectCtx.next();
          }
        }
      });
    }).catch(function(e) {
      if (generation !== self._refreshGeneration || !self._isSubscribed()) {
        return;
      }
      if (e instanceof UnauthorizedError) {
        self._failUnauthorized();
        return;
      }
      self._emitError({
        type: "refreshToken",
        channel: self.channel,
        error: {
          code: errorCodes.subscriptionRefreshToken,
          message: e !== void 0 ? e.toString() : ""
        }
      }, () => {
        if (generation !== self._refreshGeneration || !self._isSubscribed()) {
          return;
        }
        self._refreshTimeout = setTimeout(() => self._refresh(), self._getRefreshRetryDelay());
      });
    });
  }
  _refreshResponse(result) {
    if (!this._isSubscribed()) {
      return;
    }
    this._debug("subscription token refreshed, channel", this.channel);
    this._clearRefreshTimeout();
    if (result.expires === true) {
      this._refreshTimeout = setTimeout(() => this._refresh(), ttlMilliseconds(result.ttl));
    }
  }
  _refreshError(err) {
    if (!this._isSubscribed()) {
      return;
    }
    if (err.code < 100 || err.temporary === true) {
      this._emitError({
        type: "refresh",
        channel: this.channel,
        error: err
      }, () => {
        if (!this._isSubscribed()) {
          return;
        }
        this._refreshTimeout = setTimeout(() => this._refresh(), this._getRefreshRetryDelay());
      });
    } else {
      this._setUnsubscribed(err.code, err.message, true);
    }
  }
  _getRefreshRetryDelay() {
    return backoff(0, 1e4, 2e4);
  }
  // Calls an app callback expected to return a promise: one throwing instead of
  // returning a rejected promise fails the same way, not by throwing out of the
  // subscribe or refresh in progress.
  _callAsync(callback) {
    try {
      return Promise.resolve(callback());
    } catch (e) {
      return Promise.reject(e);
    }
  }
  _failUnauthorized() {
    this._setUnsubscribed(unsubscribedCodes.unauthorized, "unauthorized", true);
  }
  // ============ Shared Poll Internal Helpers ============
  // Send ONE or MORE signature batches in a single sub_refresh frame.
  // Splits across frames when the estimated payload exceeds the wire frame
  // budget — keeps each request well under the 64k Centrifugo frame limit.
  _sendTrackRequest(batches, untrackKeys) {
    if (batches.length === 0)
      return Promise.resolve();
    const maxBytes = 6e4;
    const frames = [];
    let current = [];
    let currentBytes = 100;
    if (untrackKeys && untrackKeys.length > 0) {
      for (const key of untrackKeys)
        currentBytes += key.length + 4;
    }
    for (const b of batches) {
      let cost = 100;
      for (const it of b.items)
        cost += it.key.length + 16;
      if (current.length > 0 && currentBytes + cost > maxBytes) {
        frames.push(current);
        current = [];
        currentBytes = 100;
      }
      current.push(b);
      currentBytes += cost;
    }
    if (current.length > 0)
      frames.push(current);
    const keysFrom = (idx) => frames.slice(idx).flatMap((f) => f.flatMap((b) => b.items.map((i) => i.key)));
    const send = (frame, idx, frameUntrackKeys) => new Promise((resolve, reject) => {
      const req = {
        channel: this.channel,
        type: 1,
        track: frame.map((b) => ({
          signature: b.signature,
          items: b.items.map((i) => i.version > 0 ? i : { key: i.key })
        }))
      };
      if (frameUntrackKeys && frameUntrackKeys.length > 0) {
        req.untrack = frameUntrackKeys;
      }
      const msg = { "sub_refresh": req };
      this._centrifuge._call(msg).then((resolveCtx) => {
        try {
          this._handleTrackResponse(resolveCtx.reply.sub_refresh, frame.flatMap((b) => b.items.map((i) => i.key)), frameUntrackKeys);
        } catch (err) {
          this._centrifuge._dispatchFailed(err);
        } finally {
          if (resolveCtx.next)
            resolveCtx.next();
        }
        resolve();
      }, (rejectCtx) => {
        if (rejectCtx.next)
          rejectCtx.next();
        this._sharedPollRequestFailed(rejectCtx.error);
        reject({ error: rejectCtx.error, keys: keysFrom(idx) });
      });
    });
    return this._sharedPollSerial(() => frames.reduce((chain, frame, idx) => chain.then(() => send(frame, idx, idx === 0 ? untrackKeys : void 0)), Promise.resolve()));
  }
  _isEmulation() {
    const transport = this._centrifuge._transport;
    return !!transport && transport.emulation();
  }
  // Over emulation each request is a separate HTTP request the server may handle
  // in any order: a track and an untrack of a key could overtake each other. The
  // channel's requests go one at a time then, in the order made; one made for a
  // subscription that has ended by its turn is dropped.
  _sharedPollSerial(send) {
    if (!this._isEmulation()) {
      return send();
    }
    const generation = this._refreshGeneration;
    const run = this._sharedPollQueue.then(() => {
      if (generation !== this._refreshGeneration || !this._isSubscribed()) {
        return;
      }
      return send();
    });
    this._sharedPollQueue = run.then(() => void 0, () => void 0);
    return run;
  }
  // A timed-out request over emulation may still reach the server after later
  // ones: whether the keys are tracked is unknown, the client reconnects.
  _sharedPollRequestFailed(error) {
    if (error && error.code === errorCodes.timeout && this._isEmulation()) {
      this._centrifuge._disconnect(connectingCodes.subscribeTimeout, "shared poll request timeout", true);
    }
  }
  _sendUntrackRequest(keys) {
    return this._sharedPollSerial(() => new Promise((resolve, reject) => {
      const req = {
        channel: this.channel,
        type: 2,
        untrack: keys
      };
      const msg = { "sub_refresh": req };
      this._centrifuge._call(msg).then((resolveCtx) => {
        if (resolveCtx.next) {
          resolveCtx.next();
        }
        resolve();
      }, (rejectCtx) => {
        if (rejectCtx.next) {
          rejectCtx.next();
        }
        this._sharedPollRequestFailed(rejectCtx.error);
        reject(rejectCtx.error);
      });
    }));
  }
  _handleTrackResponse(result, keys, untrackKeys) {
    if (!this._isSubscribed()) {
      return;
    }
    this._clearSharedPollTrackRetry();
    if (result && result.items && result.items.length > 0) {
      for (const pub of result.items) {
        if (!this._isSubscribed()) {
          return;
        }
        this._handlePublication(pub);
      }
    }
    if (!this._isSubscribed()) {
      return;
    }
    const untracked = new Set(untrackKeys || []);
    const stale = keys.filter((key) => !untracked.has(key) && !this._sharedPollTrackedItems.has(key));
    if (stale.length > 0) {
      this._sendUntrackRequest(stale).catch((err) => {
        this.emit("error", { type: "untrack", channel: this.channel, error: err });
      });
    }
    if (result && result.expires === true) {
      const targetMs = Date.now() + (result.ttl > 0 ? result.ttl * 1e3 : 1e3);
      this._maybeScheduleSharedPollSignatureRefresh(targetMs);
    }
  }
  // Reschedule the consolidating refresh timer if `targetMs` is earlier than
  // the currently scheduled target. No-op when a sooner refresh is already
  // pending. Pass null to clear and reset (e.g. after consolidation succeeded).
  _maybeScheduleSharedPollSignatureRefresh(targetMs) {
    if (targetMs === null) {
      this._sharedPollSignatureRefreshTargetMs = null;
      this._clearSharedPollSignatureRefresh();
      return;
    }
    if (!this._isSubscribed())
      return;
    if (this._sharedPollSignatureRefreshTargetMs !== null && targetMs >= this._sharedPollSignatureRefreshTargetMs) {
      return;
    }
    this._sharedPollSignatureRefreshTargetMs = targetMs;
    this._clearSharedPollSignatureRefresh();
    this._sharedPollSignatureRefreshTimeout = setTimeout(() => this._sharedPollRefreshSignature(), Math.max(0, targetMs - Date.now()));
  }
  _clearSharedPollSignatureRefresh() {
    if (this._sharedPollSignatureRefreshTimeout !== null) {
      clearTimeout(this._sharedPollSignatureRefreshTimeout);
      this._sharedPollSignatureRefreshTimeout = null;
    }
    this._sharedPollSignatureRefreshAttempts = 0;
  }
  _clearSharedPollTrackRetry() {
    if (this._sharedPollTrackRetryTimeout !== null) {
      clearTimeout(this._sharedPollTrackRetryTimeout);
      this._sharedPollTrackRetryTimeout = null;
    }
    this._sharedPollTrackRetryAttempts = 0;
  }
  _scheduleSharedPollReplayRetry() {
    if (this._sharedPollReplayRetryTimeout !== null) {
      clearTimeout(this._sharedPollReplayRetryTimeout);
    }
    this._sharedPollReplayRetryTimeout = setTimeout(() => this._sharedPollReplayTrack(), backoff(this._sharedPollReplayRetryAttempts++, 5e3, 3e4));
  }
  _clearSharedPollReplayRetry() {
    if (this._sharedPollReplayRetryTimeout !== null) {
      clearTimeout(this._sharedPollReplayRetryTimeout);
      this._sharedPollReplayRetryTimeout = null;
    }
    this._sharedPollReplayRetryAttempts = 0;
  }
  // Adds a signature to the library, dropping the entries whose keys it covers
  // entirely: they may have expired, and a replay sends every entry in one request,
  // which a single expired signature fails as a whole.
  _addSharedPollSignature(keys, signature) {
    const covered = new Set(keys);
    this._sharedPollSignatures = this._sharedPollSignatures.filter((entry) => !entry.keys.every((key) => covered.has(key)));
    this._sharedPollSignatures.push({ keys, signature });
  }
  _handleTrackError(err, keys) {
    if (!this._isSubscribed()) {
      return;
    }
    this._emitError({
      type: "track",
      channel: this.channel,
      error: err
    }, () => {
      if (!this._isSubscribed()) {
        return;
      }
      if (err.code === 109) {
        this._sharedPollRefreshSignature();
        return;
      }
      if (err.code < 100 || err.temporary === true) {
        this._sharedPollTrackRetryTimeout = setTimeout(() => this._sharedPollReplayTrack(), backoff(this._sharedPollTrackRetryAttempts++, 1e3, 15e3));
        return;
      }
      this._untrackFailedKeys(keys);
    });
  }
  _untrackFailedKeys(keys) {
    const failed = keys.filter((key) => this._sharedPollTrackedItems.has(key));
    if (failed.length === 0) {
      return;
    }
    for (const key of failed) {
      this._sharedPollTrackedItems.delete(key);
    }
    this._sharedPollSignatures = this._sharedPollSignatures.filter((entry) => entry.keys.some((k) => this._sharedPollTrackedItems.has(k)));
    this._sendUntrackRequest(failed).catch((err) => {
      this.emit("error", { type: "untrack", channel: this.channel, error: err });
    });
    for (const key of failed) {
      if (!this._isSubscribed()) {
        return;
      }
      this.emit("update", {
        channel: this.channel,
        key,
        data: null,
        removed: true
      });
    }
  }
  // _sharedPollRefreshSignature obtains a fresh consolidated signature
  // covering all currently tracked keys, then replaces the library with the
  // single new entry. Triggered by the TTL timer (server's `expires/ttl`
  // response) and by 109 errors on track commands. The in-flight guard
  // collapses concurrent refresh attempts into one.
  _sharedPollRefreshSignature() {
    this._clearSharedPollSignatureRefresh();
    if (!this._isSubscribed())
      return;
    if (!this._sharedPollGetSignature)
      return;
    if (this._sharedPollTrackedItems.size === 0)
      return;
    if (this._sharedPollSignatureRefreshInFlight) {
      for (const key of this._sharedPollTrackedItems.keys()) {
        if (!this._sharedPollSignatureRefreshKeys.has(key)) {
          this._sharedPollSignatureRefreshAgain = true;
          break;
        }
      }
      return;
    }
    this._sharedPollSignatureRefreshTargetMs = null;
    this._sharedPollSignatureRefreshInFlight = true;
    const keys = Array.from(this._sharedPollTrackedItems.keys());
    this._sharedPollSignatureRefreshKeys = new Set(keys);
    const self = this;
    const generation = this._refreshGeneration;
    this._callAsync(() => this._sharedPollGetSignature({ keys })).then((result) => {
      if (generation !== self._refreshGeneration)
        return;
      self._sharedPollSignatureRefreshInFlight = false;
      if (!self._isSubscribed())
        return;
      self._sharedPollSignatureRefreshAttempts = 0;
      if (self._sharedPollSignatureRefreshAgain) {
        self._sharedPollSignatureRefreshAgain = false;
        Promise.resolve().then(() => self._sharedPollRefreshSignature());
      }
      const returnedKeys = new Set(result.keys);
      const revokedKeys = [];
      for (const key of keys) {
        if (!returnedKeys.has(key) && this._sharedPollTrackedItems.has(key)) {
          self._sharedPollTrackedItems.delete(key);
          revokedKeys.push(key);
          if (!self._isSubscribed()) {
            continue;
          }
          self.emit("update", {
            channel: self.channel,
            key,
            data: null,
            removed: true
          });
        }
      }
      if (revokedKeys.length > 0) {
        self._sendUntrackRequest(revokedKeys).catch((err) => {
          self.emit("error", { type: "untrack", channel: self.channel, error: err });
        });
      }
      const items = [];
      for (const key of result.keys) {
        const version = self._sharedPollTrackedItems.get(key);
        if (version !== void 0) {
          items.push({ key, version });
        }
      }
      const consolidatedKeySet = new Set(result.keys);
      const uncovered = self._sharedPollSignatures.filter((entry) => entry.keys.some((k) => self._sharedPollTrackedItems.has(k) && !consolidatedKeySet.has(k)));
      self._sharedPollSignatures = items.length > 0 ? [{ keys: result.keys, signature: result.signature }, ...uncovered] : uncovered;
      if (items.length === 0)
        return;
      self._sendTrackRequest([{ items, signature: result.signature }]).catch((e) => {
        self._handleTrackError(e.error, e.keys);
      });
    }).catch((e) => {
      if (generation !== self._refreshGeneration)
        return;
      self._sharedPollSignatureRefreshInFlight = false;
      self._sharedPollSignatureRefreshAgain = false;
      self._emitError({
        type: "signatureRefresh",
        channel: self.channel,
        error: {
          code: errorCodes.sharedPollGetSignature,
          message: e !== void 0 ? e.toString() : ""
        }
      }, () => {
        if (generation !== self._refreshGeneration || !self._isSubscribed()) {
          return;
        }
        self._sharedPollSignatureRefreshTimeout = setTimeout(() => self._sharedPollRefreshSignature(), backoff(self._sharedPollSignatureRefreshAttempts++, 5e3, 3e4));
      });
    });
  }
  // _sharedPollReplayTrack runs after subscribe completes — on initial
  // subscribe AND after every reconnect. It reuses every cached signature
  // in _sharedPollSignatures so that mass reconnects don't trigger mass
  // getSignature calls on the application backend.
  //
  // For each cached batch:
  //   - Build a track command with the batch's ORIGINAL key set (HMAC was
  //     signed over those keys, so the full set must be sent). Versions are
  //     CURRENT per-connection versions, so the server pushes only what's
  //     changed.
  //   - Any keys in the batch that were locally untracked() since the original
  //     track() are sent in the same frame's `untrack` field — the server
  //     validates the full HMAC then removes them immediately, avoiding a
  //     separate round-trip.
  //
  // getSignature is invoked only when there are no cached signatures (e.g.
  // initial subscribe where track(keys) was called without explicit sig).
  // Once a signature is expired beyond the server's grace period, the next
  // track command returns error 109 — _handleTrackError then triggers
  // _sharedPollRefreshSignature for a fresh consolidated signature.
  _sharedPollReplayTrack() {
    if (!this._isSubscribed())
      return;
    if (this._sharedPollTrackedItems.size === 0 && this._sharedPollSignatures.length === 0)
      return;
    const coveredKeys = /* @__PURE__ */ new Set();
    const replayBatches = [];
    const allUntrackedInReplay = [];
    for (const entry of this._sharedPollSignatures) {
      const items = entry.keys.map((key) => {
        var _a;
        return {
          key,
          version: (_a = this._sharedPollTrackedItems.get(key)) !== null && _a !== void 0 ? _a : 0
        };
      });
      replayBatches.push({ items, signature: entry.signature });
      for (const k of entry.keys) {
        if (this._sharedPollTrackedItems.has(k)) {
          coveredKeys.add(k);
        } else {
          allUntrackedInReplay.push(k);
        }
      }
    }
    if (replayBatches.length > 0) {
      this._sendTrackRequest(replayBatches, allUntrackedInReplay).catch((e) => {
        this._handleTrackError(e.error, e.keys);
      });
    }
    const uncoveredKeys = [];
    for (const key of this._sharedPollTrackedItems.keys()) {
      if (!coveredKeys.has(key))
        uncoveredKeys.push(key);
    }
    if (uncoveredKeys.length === 0)
      return;
    if (!this._sharedPollGetSignature) {
      this.emit("error", {
        type: "track",
        channel: this.channel,
        error: { code: errorCodes.sharedPollGetSignature, message: "getSignature callback required for tracked keys without an explicit signature" }
      });
      return;
    }
    const self = this;
    const generation = this._refreshGeneration;
    this._callAsync(() => this._sharedPollGetSignature({ keys: uncoveredKeys })).then((result) => {
      if (generation !== self._refreshGeneration || !self._isSubscribed())
        return;
      self._clearSharedPollReplayRetry();
      const returnedKeys = new Set(result.keys);
      const revokedKeys = [];
      for (const key of uncoveredKeys) {
        if (!returnedKeys.has(key) && this._sharedPollTrackedItems.has(key)) {
          self._sharedPollTrackedItems.delete(key);
          revokedKeys.push(key);
          if (!self._isSubscribed()) {
            continue;
          }
          self.emit("update", {
            channel: self.channel,
            key,
            data: null,
            removed: true
          });
        }
      }
      if (revokedKeys.length > 0) {
        self._sendUntrackRequest(revokedKeys).catch((err) => {
          self.emit("error", { type: "untrack", channel: self.channel, error: err });
        });
      }
      const items = [];
      for (const key of result.keys) {
        const version = self._sharedPollTrackedItems.get(key);
        if (version !== void 0) {
          items.push({ key, version });
        }
      }
      if (items.length === 0)
        return;
      self._addSharedPollSignature(result.keys, result.signature);
      self._sendTrackRequest([{ items, signature: result.signature }]).catch((e) => {
        self._handleTrackError(e.error, e.keys);
      });
    }).catch((e) => {
      if (generation !== self._refreshGeneration || !self._isSubscribed())
        return;
      self._emitError({
        type: "signatureRefresh",
        channel: self.channel,
        error: {
          code: errorCodes.sharedPollGetSignature,
          message: e !== void 0 ? e.toString() : ""
        }
      }, () => {
        if (generation !== self._refreshGeneration || !self._isSubscribed())
          return;
        self._sharedPollReplayRetryTimeout = setTimeout(() => self._sharedPollReplayTrack(), backoff(self._sharedPollReplayRetryAttempts++, 5e3, 3e4));
      });
    });
  }
  // ============ Keyed Subscription Methods ============
  /** Entry point for map subscriptions */
  _mapSubscribe() {
    this._debug("starting map subscribe on", this.channel);
    const flow = ++this._subscribeFlow;
    const start = () => {
      this._mapStateBuffer = [];
      this._mapStreamBuffer = [];
      this._mapCursor = "";
      const recovering = this._recover && this._offset !== null && this._epoch !== null;
      if (!recovering) {
        this._prevValueMap = /* @__PURE__ */ new Map();
      }
      this._mapFlowRecovering = recovering;
      this._mapFlowOffset = recovering ? this._offset : 0;
      this._mapFlowEpoch = recovering ? this._epoch : null;
      this._mapFlowPositionResets = this._mapPositionResets;
      this._mapPhase = MapPhase.State;
      if (recovering) {
        this._debug("map subscribe: recovering from position, skipping to stream phase");
        this._mapPhase = MapPhase.Stream;
        this._fetchStream(flow);
      } else {
        this._fetchSnapshot(flow);
      }
    };
    if (this._canSubscribeWithoutGettingToken()) {
      start();
    } else {
      this._getSubscriptionToken().then((token) => {
        if (flow !== this._subscribeFlow) {
          return;
        }
        if (!this._isSubscribing()) {
          this._inflight = false;
          return;
        }
        if (!token) {
          this._inflight = false;
          this._failUnauthorized();
          return;
        }
        this._token = token;
        start();
      }).catch((e) => {
        this._handleTokenError(e, flow);
      });
    }
  }
  /** Fetch a page of snapshot data */
  _fetchSnapshot(flow, cursor) {
    if (!this._isSubscribing() || !this._isTransportOpen()) {
      this._inflight = false;
      return;
    }
    const cmd = this._buildMapSubscribeCommand(MapPhase.State, cursor);
    this._debug("map subscribe: fetching snapshot page", cursor ? `cursor=${cursor}` : "initial");
    this._subscribeCallFlow = flow;
    this._centrifuge._call(cmd).then((resolveCtx) => {
      try {
        if (this._settleSubscribeCall(flow, true)) {
          return;
        }
        if (flow === this._subscribeFlow) {
          this._handleMapStateResponse(flow, resolveCtx.reply.subscribe);
        }
      } catch (err) {
        this._centrifuge._dispatchFailed(err);
      } finally {
        if (resolveCtx.next) {
          resolveCtx.next();
        }
      }
    }, (rejectCtx) => {
      try {
        if (this._settleSubscribeCall(flow, false, rejectCtx.error)) {
          return;
        }
        if (flow === this._subscribeFlow) {
          this._handleMapSubscribeError(rejectCtx.error);
        }
      } catch (err) {
        this._centrifuge._rejectionFailed(err, rejectCtx);
      } finally {
        if (rejectCtx.next) {
          rejectCtx.next();
        }
      }
    });
  }
  /** Process snapshot response */
  _handleMapStateResponse(flow, result) {
    if (!this._isSubscribing()) {
      this._inflight = false;
      return;
    }
    if (!result.phase) {
      this._debug("map subscribe: server forced LIVE transition during state pagination");
      this._handleMapLiveResponse(flow, result);
      return;
    }
    if (!this._mapFlowEpoch && result.epoch) {
      this._mapFlowEpoch = result.epoch;
      this._mapFlowOffset = toOffset(result.offset);
    }
    if (this._mapFlowEpoch && result.epoch && this._mapFlowEpoch !== result.epoch) {
      this._debug("map subscribe: epoch changed during snapshot pagination, restarting");
      this._restartMapFlow();
      this._fetchSnapshot(flow);
      return;
    }
    if (result.state && result.state.length > 0) {
      this._mapStateBuffer.push(...result.state);
    }
    if (result.cursor) {
      this._mapCursor = result.cursor;
      this._fetchSnapshot(flow, this._mapCursor);
      return;
    }
    this._transitionFromSnapshot(flow);
  }
  // The stream epoch changed during the flow: what it collected and the stored
  // position are outdated. The flow continues from a snapshot.
  _restartMapFlow() {
    this._mapStateBuffer = [];
    this._mapStreamBuffer = [];
    this._mapCursor = "";
    this._mapFlowRecovering = false;
    this._mapFlowOffset = 0;
    this._mapFlowEpoch = null;
    this._epoch = null;
    this._offset = null;
    this._recover = false;
    this._prevValueMap = /* @__PURE__ */ new Map();
    this._mapPhase = MapPhase.State;
  }
  /** Transition from STATE to STREAM phase after snapshot pagination completes */
  _transitionFromSnapshot(flow) {
    this._debug("map subscribe: snapshot complete, transitioning to stream phase");
    this._mapPhase = MapPhase.Stream;
    this._fetchStream(flow);
  }
  /** Fetch stream data (offset-based catch-up) */
  _fetchStream(flow) {
    if (!this._isSubscribing() || !this._isTransportOpen()) {
      this._inflight = false;
      return;
    }
    const cmd = this._buildMapSubscribeCommand(MapPhase.Stream);
    this._debug("map subscribe: fetching stream from offset", this._mapFlowOffset);
    this._subscribeCallFlow = flow;
    this._centrifuge._call(cmd).then((resolveCtx) => {
      try {
        if (this._settleSubscribeCall(flow, true)) {
          return;
        }
        if (flow === this._subscribeFlow) {
          this._handleMapStreamResponse(flow, resolveCtx.reply.subscribe);
        }
      } catch (err) {
        this._centrifuge._dispatchFailed(err);
      } finally {
        if (resolveCtx.next) {
          resolveCtx.next();
        }
      }
    }, (rejectCtx) => {
      try {
        if (this._settleSubscribeCall(flow, false, rejectCtx.error)) {
          return;
        }
        if (flow === this._subscribeFlow) {
          this._handleMapSubscribeError(rejectCtx.error);
        }
      } catch (err) {
        this._centrifuge._rejectionFailed(err, rejectCtx);
      } finally {
        if (rejectCtx.next) {
          rejectCtx.next();
        }
      }
    });
  }
  /** Process stream response */
  _handleMapStreamResponse(flow, result) {
    if (!this._isSubscribing()) {
      this._inflight = false;
      return;
    }
    if (!result.phase) {
      this._debug("map subscribe: server forced LIVE transition during stream");
      this._handleMapLiveResponse(flow, result);
      return;
    }
    if (this._mapFlowEpoch && result.epoch && this._mapFlowEpoch !== result.epoch) {
      this._debug("map subscribe: epoch changed during stream, restarting");
      this._restartMapFlow();
      this._fetchSnapshot(flow);
      return;
    }
    if (result.publications && result.publications.length > 0) {
      this._mapStreamBuffer.push(...result.publications);
    }
    if (result.offset !== void 0) {
      this._mapFlowOffset = toOffset(result.offset);
    }
    this._fetchStream(flow);
  }
  /** Process live response - complete the map subscription */
  _handleMapLiveResponse(flow, result) {
    if (!this._isSubscribing()) {
      this._inflight = false;
      return;
    }
    this._inflight = false;
    if (this._mapFlowEpoch && result.epoch && this._mapFlowEpoch !== result.epoch) {
      this._debug("map subscribe: epoch changed during live transition, restarting");
      this._restartMapFlow();
      this._inflight = true;
      this._fetchSnapshot(flow);
      return;
    }
    const deltaNegotiated = !!(this._delta && result.delta);
    const statePubs = result.state && result.state.length > 0 ? this._mapStateBuffer.concat(result.state) : this._mapStateBuffer;
    this._mapStateBuffer = statePubs.map((pub) => {
      this._seedDeltaTracking(pub, deltaNegotiated);
      return this._getMapUpdateContext(pub);
    });
    this._mapStreamBuffer = this._mapStreamBuffer.map((pub) => {
      this._seedDeltaTracking(pub, deltaNegotiated);
      return this._getMapUpdateContext(pub);
    });
    if (result.publications && result.publications.length > 0) {
      for (const pub of result.publications) {
        if (deltaNegotiated) {
          const deltaKey = pub.key || "";
          if (pub.removed) {
            this._prevValueMap.delete(deltaKey);
          } else {
            const { newData, newPrevValue, isDelta, wireBytes, fullBytes } = this._centrifuge._codec.applyDeltaIfNeeded(pub, this._prevValueMap.get(deltaKey));
            pub.data = newData;
            this._deltaNumPubs++;
            this._deltaBytesReceived += wireBytes;
            this._deltaBytesDecoded += fullBytes;
            if (isDelta) {
              this._deltaNumDelta++;
            } else {
              this._deltaNumFull++;
            }
            this._prevValueMap.set(deltaKey, newPrevValue);
          }
        } else if (this._delta && pub.key) {
          if (pub.removed) {
            this._prevValueMap.delete(pub.key);
          } else {
            this._prevValueMap.set(pub.key, pub.data);
          }
        }
        this._mapStreamBuffer.push(this._getMapUpdateContext(pub));
      }
    }
    const offset = toOffset(result.offset);
    const epoch = result.epoch || "";
    this._clearSubscribingState();
    if (result.id) {
      this._id = result.id;
    }
    const recover = result.recoverable === true;
    if (result.delta) {
      this._delta_negotiated = true;
    } else {
      this._delta_negotiated = false;
    }
    if (result.publish_debounce) {
      this._debounceMs = result.publish_debounce;
    }
    let stateEntries = this._mapStateBuffer;
    let streamEntries = this._mapStreamBuffer;
    this._mapStateBuffer = [];
    this._mapStreamBuffer = [];
    this._mapPhase = null;
    const ctx = this._centrifuge._getSubscribeContext(this.channel, result);
    ctx.state = stateEntries;
    const positionResets = this._mapFlowPositionResets;
    if (this._mapPositionResets === positionResets) {
      this._recover = recover;
      this._epoch = epoch;
      if (!ctx.recovered) {
        this._recover = false;
        this._offset = null;
        this._epoch = null;
      } else if (streamEntries.length > 0 && streamEntries[0].offset !== void 0) {
        this._offset = streamEntries[0].offset - 1;
      } else {
        this._offset = offset;
      }
    }
    this._setState(SubscriptionState.Subscribed);
    if (!this._isSubscribed()) {
      return;
    }
    this.emit("subscribed", ctx);
    if (!this._isSubscribed()) {
      return;
    }
    this._resolvePromises();
    if (!ctx.recovered) {
      if (streamEntries.length > 0) {
        const stateMap = /* @__PURE__ */ new Map();
        for (const entry of stateEntries) {
          stateMap.set(entry.key, entry);
        }
        for (const entry of streamEntries) {
          if (entry.removed) {
            stateMap.delete(entry.key);
          } else {
            stateMap.set(entry.key, entry);
          }
        }
        stateEntries = Array.from(stateMap.values());
        streamEntries = [];
      }
      if (this._mapPositionResets === positionResets) {
        this._recover = recover;
        this._offset = offset;
        this._epoch = epoch;
      }
      this.emit("sync", { entries: stateEntries });
    }
    for (const entry of streamEntries) {
      if (!this._isSubscribed()) {
        return;
      }
      this.emit("publication", entry);
      if (!this._isSubscribed()) {
        return;
      }
      if (entry.offset !== void 0 && this._mapPositionResets === positionResets) {
        this._offset = entry.offset;
      }
      this.emit("update", entry);
    }
    if (!this._isSubscribed()) {
      return;
    }
    if (this._mapPositionResets === positionResets) {
      this._offset = offset;
    }
    if (result.expires === true) {
      this._refreshTimeout = setTimeout(() => this._refresh(), ttlMilliseconds(result.ttl));
    }
  }
  /** Handle errors during map subscription process */
  _handleMapSubscribeError(error) {
    this._inflight = false;
    if (!this._isSubscribing()) {
      return;
    }
    if (error.code === errorCodes.connectionClosed) {
      return;
    }
    if (error.code === errorCodes.timeout) {
      this._centrifuge._disconnect(connectingCodes.subscribeTimeout, "subscribe timeout", true);
      return;
    }
    this._mapStateBuffer = [];
    this._mapStreamBuffer = [];
    this._mapPhase = null;
    if (error.code === 112) {
      if (this._mapUnrecoverableStrategy === "from_scratch") {
        this._debug("map subscribe: unrecoverable position, restarting from scratch");
        this._prevValueMap = /* @__PURE__ */ new Map();
        this._offset = null;
        this._epoch = null;
        this._recover = false;
        this._scheduleResubscribe();
        return;
      }
    }
    this._subscribeError(error);
  }
  /** Build map subscribe command for a specific phase */
  _buildMapSubscribeCommand(phase, cursor) {
    const req = {
      channel: this.channel,
      type: this._mapPresenceType || 1,
      // 1=MAP, 2=MAP_CLIENTS, 3=MAP_USERS
      phase
    };
    if (this._token)
      req.token = this._token;
    if (this._tagsFilter)
      req.tf = this._tagsFilter;
    if (this._delta)
      req.delta = this._delta;
    req.flag = subscriptionFlags.channelCompaction;
    if (phase === MapPhase.State) {
      if (this._mapPageSize > 0)
        req.limit = this._mapPageSize;
      if (cursor)
        req.cursor = cursor;
      if (this._mapFlowEpoch) {
        req.offset = this._mapFlowOffset;
        req.epoch = this._mapFlowEpoch;
      } else {
        if (this._data)
          req.data = this._data;
      }
    }
    if (phase === MapPhase.Stream) {
      if (this._mapPageSize > 0)
        req.limit = this._mapPageSize;
      req.offset = this._mapFlowOffset;
      req.epoch = this._mapFlowEpoch;
      if (this._mapFlowRecovering) {
        req.recover = true;
        if (this._mapStreamBuffer.length === 0) {
          if (this._data)
            req.data = this._data;
        }
      }
    }
    return { subscribe: req };
  }
  /** Convert raw publication to MapUpdateContext */
  _getMapUpdateContext(pub) {
    const ctx = {
      channel: this.channel,
      data: pub.data,
      key: pub.key || ""
    };
    if (pub.removed === true) {
      ctx.removed = true;
    }
    if (pub.offset !== void 0) {
      ctx.offset = toOffset(pub.offset);
    }
    if (pub.info) {
      ctx.info = this._centrifuge._getJoinLeaveContext(pub.info);
    }
    if (pub.tags) {
      ctx.tags = pub.tags;
    }
    return ctx;
  }
  /** Convert raw publication to SharedPollUpdateContext */
  _getSharedPollUpdateContext(pub) {
    const ctx = {
      channel: this.channel,
      key: pub.key || "",
      data: pub.data
    };
    if (pub.removed === true) {
      ctx.removed = true;
    }
    if (pub.version !== void 0) {
      ctx.version = toOffset(pub.version);
    }
    return ctx;
  }
};
var Subscription = class extends BaseSubscription {
  /** Publish data to the channel. */
  publish(data) {
    return __awaiter(this, void 0, void 0, function* () {
      yield this._methodCall();
      if (this._debounceMs > 0) {
        return this._debouncedPublish("", data, false);
      }
      return this._centrifuge.publish(this.channel, data);
    });
  }
  /** history for a channel. By default it does not return publications (only current
   *  StreamPosition data) – provide an explicit limit > 0 to load publications.*/
  history(opts) {
    return __awaiter(this, void 0, void 0, function* () {
      yield this._methodCall();
      return this._centrifuge.history(this.channel, opts);
    });
  }
};
var MapSubscription = class extends BaseSubscription {
  /** Publish data to a key. */
  publish(key, data) {
    return __awaiter(this, void 0, void 0, function* () {
      yield this._methodCall();
      if (this._debounceMs > 0) {
        return this._debouncedPublish(key, data, true);
      }
      return this._centrifuge.mapPublish(this.channel, key, data);
    });
  }
  /** Remove a key. */
  remove(key) {
    return __awaiter(this, void 0, void 0, function* () {
      yield this._methodCall();
      this._cancelDebounce(key);
      return this._centrifuge.mapRemove(this.channel, key);
    });
  }
};
var SharedPollSubscription = class extends BaseSubscription {
  /** Track items in a shared poll subscription.
   *
   * Overloads:
   * - `track(keys: string[])` — pass key names only (version defaults to 0).
   *   Requires `getSignature` callback in subscription options. The SDK
   *   automatically obtains a signature before sending the track request.
   * - `track(items: SharedPollTrackItem[], signature: string)` — pass items
   *   with explicit versions and a pre-computed HMAC signature.
   *
   * Items are stored in local state immediately. If subscribed, the track request
   * is sent right away. If not yet subscribed, items will be sent via replay
   * (with a fresh signature from getSignature) after subscribe completes.
   *
   * **Fire-and-forget** (similar to subscribe/unsubscribe): returns void and never
   * throws for in-flight failures. Subscribe to the `error` event to observe
   * failures: `type: 'track'` covers both the server-side track request and
   * the `getSignature` callback when using `track(keys)`. Server-revoked keys
   * arrive as synthetic `update` events with `removed: true`. */
  track(keysOrItems, signature) {
    if (keysOrItems.length === 0) {
      return;
    }
    let items;
    const sig = signature;
    if (typeof keysOrItems[0] === "string") {
      const keys2 = keysOrItems;
      items = keys2.map((k) => ({ key: k, version: 0 }));
    } else {
      items = keysOrItems;
    }
    for (const item of items) {
      const version = toOffset(item.version);
      const existing = this._sharedPollTrackedItems.get(item.key);
      if (existing === void 0 || version > existing) {
        this._sharedPollTrackedItems.set(item.key, version);
      }
    }
    if (sig !== void 0) {
      this._addSharedPollSignature(items.map((i) => i.key), sig);
      if (this._isSubscribed() && !this._sharedPollReplayPending) {
        this._sendTrackRequest([{ items, signature: sig }]).catch((e) => {
          this._handleTrackError(e.error, e.keys);
        });
      }
      return;
    }
    if (!this._sharedPollGetSignature) {
      this.emit("error", {
        type: "track",
        channel: this.channel,
        error: { code: errorCodes.sharedPollGetSignature, message: "getSignature callback required for track(keys)" }
      });
      return;
    }
    if (!this._isSubscribed() || this._sharedPollReplayPending) {
      return;
    }
    const keys = items.map((i) => i.key);
    const generation = this._refreshGeneration;
    this._callAsync(() => this._sharedPollGetSignature({ keys })).then((result) => {
      if (generation !== this._refreshGeneration || !this._isSubscribed())
        return;
      const returnedKeys = new Set(result.keys);
      const revokedKeys = [];
      for (const key of keys) {
        if (!returnedKeys.has(key) && this._sharedPollTrackedItems.has(key)) {
          this._sharedPollTrackedItems.delete(key);
          revokedKeys.push(key);
          if (!this._isSubscribed()) {
            continue;
          }
          this.emit("update", {
            channel: this.channel,
            key,
            data: null,
            removed: true
          });
        }
      }
      if (revokedKeys.length > 0) {
        this._sendUntrackRequest(revokedKeys).catch((err) => {
          this.emit("error", { type: "untrack", channel: this.channel, error: err });
        });
      }
      this._sharedPollReplayRetryAttempts = 0;
      const authorizedItems = [];
      for (const key of result.keys) {
        const version = this._sharedPollTrackedItems.get(key);
        if (version !== void 0) {
          authorizedItems.push({ key, version });
        }
      }
      if (authorizedItems.length === 0)
        return;
      this._addSharedPollSignature(result.keys, result.signature);
      this._sendTrackRequest([{ items: authorizedItems, signature: result.signature }]).catch((e) => {
        this._handleTrackError(e.error, e.keys);
      });
    }).catch((e) => {
      if (generation !== this._refreshGeneration || !this._isSubscribed())
        return;
      this._emitError({
        type: "track",
        channel: this.channel,
        error: { code: errorCodes.sharedPollGetSignature, message: e !== void 0 ? e.toString() : "getSignature failed" }
      }, () => {
        if (generation !== this._refreshGeneration || !this._isSubscribed())
          return;
        this._scheduleSharedPollReplayRetry();
      });
    });
  }
  /** Stop tracking specific keys in a shared poll subscription.
   * Keys are removed from local state immediately. If subscribed, the untrack
   * request is sent right away. If not yet subscribed, the keys simply won't
   * be included in the replay after subscribe completes.
   *
   * **Fire-and-forget** (similar to subscribe/unsubscribe): returns void and never
   * throws for in-flight failures. Subscribe to the `error` event with
   * `type: 'untrack'` to observe failures of the untrack request. */
  untrack(keys) {
    for (const key of keys) {
      this._sharedPollTrackedItems.delete(key);
    }
    this._sharedPollSignatures = this._sharedPollSignatures.filter((entry) => entry.keys.some((k) => this._sharedPollTrackedItems.has(k)));
    if (this._isSubscribed()) {
      this._sendUntrackRequest(keys).catch((err) => {
        this.emit("error", {
          type: "untrack",
          channel: this.channel,
          error: err
        });
      });
    }
  }
  /** Returns the set of currently tracked keys in a shared poll subscription. */
  trackedKeys() {
    return new Set(this._sharedPollTrackedItems.keys());
  }
};
var WebsocketTransport = class {
  constructor(endpoint, options) {
    this.endpoint = endpoint;
    this.options = options;
    this._transport = null;
  }
  name() {
    return "websocket";
  }
  subName() {
    return "websocket";
  }
  emulation() {
    return false;
  }
  supported() {
    return this.options.websocket !== void 0 && this.options.websocket !== null;
  }
  initialize(protocol, callbacks) {
    let subProtocol = "";
    if (protocol === "protobuf") {
      subProtocol = "centrifuge-protobuf";
    }
    if (subProtocol !== "") {
      this._transport = new this.options.websocket(this.endpoint, subProtocol);
    } else {
      this._transport = new this.options.websocket(this.endpoint);
    }
    if (protocol === "protobuf") {
      this._transport.binaryType = "arraybuffer";
    }
    this._transport.onopen = () => {
      callbacks.onOpen();
    };
    this._transport.onerror = (e) => {
      callbacks.onError(e);
    };
    this._transport.onclose = (closeEvent) => {
      callbacks.onClose(closeEvent);
    };
    this._transport.onmessage = (event) => {
      callbacks.onMessage(event.data);
    };
  }
  close() {
    if (this._transport !== null) {
      this._transport.close();
    }
  }
  send(data) {
    this._transport.send(data);
  }
};
var maxRetainedSize = 64 * 1024;
var zValue = [
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  0,
  1,
  2,
  3,
  4,
  5,
  6,
  7,
  8,
  9,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  -1,
  10,
  11,
  12,
  13,
  14,
  15,
  16,
  17,
  18,
  19,
  20,
  21,
  22,
  23,
  24,
  25,
  26,
  27,
  28,
  29,
  30,
  31,
  32,
  33,
  34,
  35,
  -1,
  -1,
  -1,
  -1,
  36,
  -1,
  37,
  38,
  39,
  40,
  41,
  42,
  43,
  44,
  45,
  46,
  47,
  48,
  49,
  50,
  51,
  52,
  53,
  54,
  55,
  56,
  57,
  58,
  59,
  60,
  61,
  62,
  -1,
  -1,
  -1,
  63,
  -1
];
var Reader = class {
  constructor(array) {
    this.a = array;
    this.pos = 0;
  }
  haveBytes() {
    return this.pos < this.a.length;
  }
  getByte() {
    const b = this.a[this.pos];
    this.pos++;
    if (this.pos > this.a.length)
      throw new RangeError("out of bounds");
    return b;
  }
  getChar() {
    return String.fromCharCode(this.getByte());
  }
  // Read base64-encoded unsigned integer.
  getInt() {
    let v = 0;
    let c;
    while (this.haveBytes() && (c = zValue[127 & this.getByte()]) >= 0) {
      v = (v << 6) + c;
    }
    this.pos--;
    return v >>> 0;
  }
};
var Writer = class {
  constructor() {
    this.a = [];
  }
  toByteArray(sourceType) {
    if (Array.isArray(sourceType)) {
      return this.a;
    }
    return new Uint8Array(this.a);
  }
  // Copy from array at start to end.
  putArray(a, start, end) {
    for (let i = start; i < end; i++)
      this.a.push(a[i]);
  }
};
function checksum(arr) {
  let sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0, z = 0, N = arr.length;
  while (N >= 16) {
    sum0 = sum0 + arr[z + 0] | 0;
    sum1 = sum1 + arr[z + 1] | 0;
    sum2 = sum2 + arr[z + 2] | 0;
    sum3 = sum3 + arr[z + 3] | 0;
    sum0 = sum0 + arr[z + 4] | 0;
    sum1 = sum1 + arr[z + 5] | 0;
    sum2 = sum2 + arr[z + 6] | 0;
    sum3 = sum3 + arr[z + 7] | 0;
    sum0 = sum0 + arr[z + 8] | 0;
    sum1 = sum1 + arr[z + 9] | 0;
    sum2 = sum2 + arr[z + 10] | 0;
    sum3 = sum3 + arr[z + 11] | 0;
    sum0 = sum0 + arr[z + 12] | 0;
    sum1 = sum1 + arr[z + 13] | 0;
    sum2 = sum2 + arr[z + 14] | 0;
    sum3 = sum3 + arr[z + 15] | 0;
    z += 16;
    N -= 16;
  }
  while (N >= 4) {
    sum0 = sum0 + arr[z + 0] | 0;
    sum1 = sum1 + arr[z + 1] | 0;
    sum2 = sum2 + arr[z + 2] | 0;
    sum3 = sum3 + arr[z + 3] | 0;
    z += 4;
    N -= 4;
  }
  sum3 = ((sum3 + (sum2 << 8) | 0) + (sum1 << 16) | 0) + (sum0 << 24) | 0;
  switch (N) {
    //@ts-ignore fallthrough is needed.
    case 3:
      sum3 = sum3 + (arr[z + 2] << 8) | 0;
    /* falls through */
    //@ts-ignore fallthrough is needed.
    case 2:
      sum3 = sum3 + (arr[z + 1] << 16) | 0;
    /* falls through */
    case 1:
      sum3 = sum3 + (arr[z + 0] << 24) | 0;
  }
  return sum3 >>> 0;
}
function applyDelta(source, delta) {
  let total = 0;
  const zDelta = new Reader(delta);
  const lenSrc = source.length;
  const lenDelta = delta.length;
  const limit = zDelta.getInt();
  if (zDelta.getChar() !== "\n")
    throw new Error("size integer not terminated by '\\n'");
  const zOut = new Writer();
  while (zDelta.haveBytes()) {
    const cnt = zDelta.getInt();
    let ofst;
    switch (zDelta.getChar()) {
      case "@":
        ofst = zDelta.getInt();
        if (zDelta.haveBytes() && zDelta.getChar() !== ",")
          throw new Error("copy command not terminated by ','");
        total += cnt;
        if (total > limit)
          throw new Error("copy exceeds output file size");
        if (ofst + cnt > lenSrc)
          throw new Error("copy extends past end of input");
        zOut.putArray(source, ofst, ofst + cnt);
        break;
      case ":":
        total += cnt;
        if (total > limit)
          throw new Error("insert command gives an output larger than predicted");
        if (cnt > lenDelta)
          throw new Error("insert count exceeds size of delta");
        zOut.putArray(zDelta.a, zDelta.pos, zDelta.pos + cnt);
        zDelta.pos += cnt;
        break;
      case ";": {
        const out = zOut.toByteArray(source);
        if (cnt !== checksum(out))
          throw new Error("bad checksum");
        if (total !== limit)
          throw new Error("generated size does not match predicted size");
        return out;
      }
      default:
        throw new Error("unknown delta operator");
    }
  }
  throw new Error("unterminated delta");
}
var JsonCodec = class {
  name() {
    return "json";
  }
  encodeCommands(commands) {
    return commands.map((c) => JSON.stringify(c)).join("\n");
  }
  decodeReplies(data) {
    return data.split("\n").filter((r) => r.trim() !== "").map((r) => JSON.parse(r));
  }
  applyDeltaIfNeeded(pub, prevValue) {
    let newData, newPrevValue, wireBytes;
    let isDelta;
    if (pub.delta) {
      isDelta = true;
      const deltaBytes = new TextEncoder().encode(pub.data);
      const valueArray = applyDelta(prevValue, deltaBytes);
      newData = JSON.parse(new TextDecoder().decode(valueArray));
      newPrevValue = valueArray;
      wireBytes = deltaBytes.length;
    } else {
      isDelta = false;
      newData = JSON.parse(pub.data);
      newPrevValue = new TextEncoder().encode(pub.data);
      wireBytes = newPrevValue.length;
    }
    return { newData, newPrevValue, isDelta, wireBytes, fullBytes: newPrevValue.length };
  }
};
var defaults = {
  headers: {},
  token: "",
  getToken: null,
  data: null,
  getData: null,
  debug: false,
  name: "js",
  version: "",
  fetch: null,
  readableStream: null,
  websocket: null,
  eventsource: null,
  sockjs: null,
  sockjsOptions: {},
  emulationEndpoint: "/emulation",
  minReconnectDelay: 500,
  maxReconnectDelay: 2e4,
  timeout: 5e3,
  maxServerPingDelay: 1e4,
  networkEventTarget: null,
  pageEventTarget: null
};
var websocketNotFound = "WebSocket constructor not found, make sure it is available globally or passed as a dependency in Centrifuge options";
var lateCallTimer = 1e3;
var lateCallGrace = 1e3;
function errorMessage(err) {
  try {
    return err instanceof Error ? err.message : String(err);
  } catch (e) {
    return "value without a string form";
  }
}
var UnauthorizedError = class extends Error {
  constructor(message) {
    super(message);
    this.name = this.constructor.name;
  }
};
var Centrifuge = class extends EventEmitter {
  /** Constructs Centrifuge client. Call connect() method to start connecting. */
  constructor(endpoint, options) {
    super();
    this._reconnectTimeout = null;
    this._connectTimeout = null;
    this._removedUnsubscribes = {};
    this._pendingServerSubOffsets = {};
    this._refreshTimeout = null;
    this._serverPingTimeout = null;
    this._handlerFailures = 0;
    this.state = State.Disconnected;
    this._transportIsOpen = false;
    this._endpoint = endpoint;
    this._emulation = false;
    this._transports = [];
    this._currentTransportIndex = 0;
    this._triedAllTransports = false;
    this._transportWasOpen = false;
    this._transport = null;
    this._transportId = 0;
    this._deviceWentOffline = false;
    this._transportClosed = true;
    this._codec = new JsonCodec();
    this._reconnecting = false;
    this._reconnectTimeout = null;
    this._connectTimeout = null;
    this._reconnectAttempts = 0;
    this._client = null;
    this._session = "";
    this._node = "";
    this._subs = {};
    this._serverSubs = {};
    this._commandId = 0;
    this._commands = [];
    this._batching = false;
    this._refreshRequired = false;
    this._refreshTimeout = null;
    this._callbacks = {};
    this._token = "";
    this._data = null;
    this._dispatchPromise = Promise.resolve();
    this._serverPing = 0;
    this._serverPingTimeout = null;
    this._sendPong = false;
    this._promises = {};
    this._promiseId = 0;
    this._debugEnabled = false;
    this._networkEvents = null;
    this._pageEvents = null;
    this._pageCached = false;
    this._stateTransitions = 0;
    this._disconnects = 0;
    this._abortedTransportId = 0;
    this._reconnectAttemptsResetPending = false;
    this._config = Object.assign(Object.assign({}, defaults), options);
    this._configure();
    if (this._debugEnabled) {
      this.on("state", (ctx) => {
        this._debug("client state", ctx.oldState, "->", ctx.newState);
      });
      this.on("error", (ctx) => {
        this._debug("client error", ctx);
      });
    } else {
      this.on("error", function() {
        Function.prototype();
      });
    }
  }
  /** newSubscription allocates new Subscription to a channel. Since server only allows
   * one subscription per channel per client this method throws if client already has
   * channel subscription in internal registry.
   * */
  newSubscription(channel, options) {
    if (this.getSubscription(channel) !== null) {
      throw new Error("Subscription to the channel " + channel + " already exists");
    }
    const sub = new Subscription(this, channel, options);
    this._subs[channel] = sub;
    return sub;
  }
  /** newMapSubscription allocates new map Subscription to a channel. Since server only allows
   * one subscription per channel per client this method throws if client already has
   * channel subscription in internal registry.
   *
   * Experimental. Requires Centrifugo >= v6.8.0. API may change in a backwards-incompatible
   * way in subsequent minor releases. */
  newMapSubscription(channel, options) {
    if (this.getSubscription(channel) !== null) {
      throw new Error("Subscription to the channel " + channel + " already exists");
    }
    const sub = new MapSubscription(this, channel, {
      token: options === null || options === void 0 ? void 0 : options.token,
      getToken: options === null || options === void 0 ? void 0 : options.getToken,
      data: options === null || options === void 0 ? void 0 : options.data,
      minResubscribeDelay: options === null || options === void 0 ? void 0 : options.minResubscribeDelay,
      maxResubscribeDelay: options === null || options === void 0 ? void 0 : options.maxResubscribeDelay,
      delta: options === null || options === void 0 ? void 0 : options.delta,
      tagsFilter: options === null || options === void 0 ? void 0 : options.tagsFilter,
      map: true,
      mapPageSize: options === null || options === void 0 ? void 0 : options.pageSize,
      mapUnrecoverableStrategy: options === null || options === void 0 ? void 0 : options.unrecoverableStrategy
    });
    this._subs[channel] = sub;
    return sub;
  }
  /** Create a map subscription for observing individual connections (clients presence).
   * Each entry has key=clientId and contains full ClientInfo.
   * Use this to track connections per channel.
   * The channel should be the full presence channel name (e.g., "$clients:games").
   *
   * Experimental. Requires Centrifugo >= v6.8.0. API may change in a backwards-incompatible
   * way in subsequent minor releases. */
  newMapClientsSubscription(channel, options) {
    if (this.getSubscription(channel) !== null) {
      throw new Error("Subscription to the channel " + channel + " already exists");
    }
    const sub = new MapSubscription(this, channel, {
      token: options === null || options === void 0 ? void 0 : options.token,
      getToken: options === null || options === void 0 ? void 0 : options.getToken,
      data: options === null || options === void 0 ? void 0 : options.data,
      minResubscribeDelay: options === null || options === void 0 ? void 0 : options.minResubscribeDelay,
      maxResubscribeDelay: options === null || options === void 0 ? void 0 : options.maxResubscribeDelay,
      delta: options === null || options === void 0 ? void 0 : options.delta,
      tagsFilter: options === null || options === void 0 ? void 0 : options.tagsFilter,
      map: true,
      mapPresenceType: 2,
      // MAP_CLIENTS_PRESENCE
      mapPageSize: options === null || options === void 0 ? void 0 : options.pageSize,
      mapUnrecoverableStrategy: options === null || options === void 0 ? void 0 : options.unrecoverableStrategy
    });
    this._subs[channel] = sub;
    return sub;
  }
  /** Create a map subscription for observing unique users (users presence).
   * Each entry has key=userId (no ClientInfo stored).
   * User entries expire via TTL, providing debounce for quick reconnects.
   * The channel should be the full presence channel name (e.g., "$users:games").
   *
   * Experimental. Requires Centrifugo >= v6.8.0. API may change in a backwards-incompatible
   * way in subsequent minor releases. */
  newMapUsersSubscription(channel, options) {
    if (this.getSubscription(channel) !== null) {
      throw new Error("Subscription to the channel " + channel + " already exists");
    }
    const sub = new MapSubscription(this, channel, {
      token: options === null || options === void 0 ? void 0 : options.token,
      getToken: options === null || options === void 0 ? void 0 : options.getToken,
      data: options === null || options === void 0 ? void 0 : options.data,
      minResubscribeDelay: options === null || options === void 0 ? void 0 : options.minResubscribeDelay,
      maxResubscribeDelay: options === null || options === void 0 ? void 0 : options.maxResubscribeDelay,
      delta: options === null || options === void 0 ? void 0 : options.delta,
      tagsFilter: options === null || options === void 0 ? void 0 : options.tagsFilter,
      map: true,
      mapPresenceType: 3,
      // MAP_USERS_PRESENCE
      mapPageSize: options === null || options === void 0 ? void 0 : options.pageSize,
      mapUnrecoverableStrategy: options === null || options === void 0 ? void 0 : options.unrecoverableStrategy
    });
    this._subs[channel] = sub;
    return sub;
  }
  /** newSharedPollSubscription allocates a new shared poll Subscription to a channel.
   * Shared poll subscriptions use server-side polling to aggregate interest sets
   * and deliver periodic updates with version tracking. Track items after subscribing
   * using the track() method on the returned Subscription.
   *
   * Experimental. Requires Centrifugo >= v6.8.0. API may change in a backwards-incompatible
   * way in subsequent minor releases. */
  newSharedPollSubscription(channel, options) {
    if (this.getSubscription(channel) !== null) {
      throw new Error("Subscription to the channel " + channel + " already exists");
    }
    const sub = new SharedPollSubscription(this, channel, {
      token: options === null || options === void 0 ? void 0 : options.token,
      getToken: options === null || options === void 0 ? void 0 : options.getToken,
      data: options === null || options === void 0 ? void 0 : options.data,
      minResubscribeDelay: options === null || options === void 0 ? void 0 : options.minResubscribeDelay,
      maxResubscribeDelay: options === null || options === void 0 ? void 0 : options.maxResubscribeDelay,
      delta: options === null || options === void 0 ? void 0 : options.delta,
      sharedPoll: true,
      sharedPollGetSignature: options === null || options === void 0 ? void 0 : options.getSignature
    });
    this._subs[channel] = sub;
    return sub;
  }
  /** getSubscription returns Subscription if it's registered in the internal
   * registry or null. */
  getSubscription(channel) {
    return this._getSub(channel);
  }
  /** Get a map subscription by channel. */
  getMapSubscription(channel) {
    return this._getSub(channel);
  }
  /** Get a shared poll subscription by channel. */
  getSharedPollSubscription(channel) {
    return this._getSub(channel);
  }
  /** removeSubscription allows removing Subcription from the internal registry. */
  removeSubscription(sub) {
    if (!sub) {
      return;
    }
    if (this._subs[sub.channel] !== sub) {
      return;
    }
    delete this._subs[sub.channel];
    sub._removed = true;
    if (sub.state !== SubscriptionState.Unsubscribed) {
      sub.unsubscribe();
    }
    this._recordRemovedUnsubscribe(sub);
  }
  /** Remove a map subscription. */
  removeMapSubscription(sub) {
    this.removeSubscription(sub);
  }
  /** Remove a shared poll subscription. */
  removeSharedPollSubscription(sub) {
    this.removeSubscription(sub);
  }
  /** Get a map with all current client-side subscriptions. */
  subscriptions() {
    return this._subs;
  }
  /** Get all map subscriptions. */
  mapSubscriptions() {
    const result = {};
    for (const [ch, sub] of Object.entries(this._subs)) {
      if (sub.type === "map")
        result[ch] = sub;
    }
    return result;
  }
  /** Get all shared poll subscriptions. */
  sharedPollSubscriptions() {
    const result = {};
    for (const [ch, sub] of Object.entries(this._subs)) {
      if (sub.type === "shared_poll")
        result[ch] = sub;
    }
    return result;
  }
  /** ready returns a Promise which resolves upon client goes to Connected
   * state and rejects in case of client goes to Disconnected or Failed state.
   * Users can provide optional timeout in milliseconds. */
  ready(timeout2) {
    return __awaiter(this, void 0, void 0, function* () {
      switch (this.state) {
        case State.Disconnected:
          throw { code: errorCodes.clientDisconnected, message: "client disconnected" };
        case State.Connected:
          return;
        default:
          return new Promise((resolve, reject) => {
            const id = this._nextPromiseId();
            const ctx = { resolve, reject };
            if (timeout2) {
              ctx.timeout = setTimeout(() => {
                delete this._promises[id];
                reject({ code: errorCodes.timeout, message: "timeout" });
              }, timeout2);
            }
            this._promises[id] = ctx;
          });
      }
    });
  }
  /** connect to a server. */
  connect() {
    if (this._isConnected()) {
      this._debug("connect called when already connected");
      return;
    }
    if (this._isConnecting()) {
      this._debug("connect called when already connecting");
      return;
    }
    this._debug("connect called");
    this._validateTransportConfig();
    this._reconnectAttempts = 0;
    this._startConnecting();
  }
  /** disconnect from a server. */
  disconnect() {
    this._disconnect(disconnectedCodes.disconnectCalled, "disconnect called", false);
  }
  /** setToken allows setting connection token. Or resetting used token to be empty.  */
  setToken(token) {
    this._token = token;
    if (this._config.getToken === null) {
      this._refreshRequired = false;
    }
  }
  /** setData allows setting connection data. This only affects the next connection attempt,
   * not the current one. Note that if getData callback is configured, it will override
   * this value during reconnects. */
  setData(data) {
    this._data = data;
  }
  /** setHeaders allows setting connection emulated headers. */
  setHeaders(headers) {
    this._config.headers = headers;
  }
  /** send asynchronous data to a server (without any response from a server
   * expected, see rpc method if you need response). */
  send(data) {
    return __awaiter(this, void 0, void 0, function* () {
      const cmd = {
        send: {
          data
        }
      };
      yield this._methodCall();
      const sent = this._transportSendCommands([cmd]);
      if (!sent) {
        throw this._createErrorObject(errorCodes.transportWriteError, "transport write error");
      }
    });
  }
  /** rpc to a server - i.e. a call which waits for a response with data. */
  rpc(method, data) {
    return __awaiter(this, void 0, void 0, function* () {
      const cmd = {
        rpc: {
          method,
          data
        }
      };
      yield this._methodCall();
      const result = yield this._callPromise(cmd, (reply) => reply.rpc);
      return {
        data: result.data
      };
    });
  }
  /** publish data to a channel. */
  publish(channel, data) {
    return __awaiter(this, void 0, void 0, function* () {
      const cmd = {
        publish: {
          channel,
          data
        }
      };
      yield this._methodCall();
      yield this._callPromise(cmd, () => ({}));
      return {};
    });
  }
  /** Publish data to a key in a map channel without holding a MapSubscription.
   * Use this when you need to write to a map channel from outside a subscription
   * context (e.g. a standalone publisher). When you already hold a MapSubscription,
   * prefer `sub.publish(key, data)` instead — it enforces the method-call guard and
   * applies debounce configuration. */
  mapPublish(channel, key, data) {
    return __awaiter(this, void 0, void 0, function* () {
      const cmd = {
        publish: { channel, type: 1, key, data }
      };
      yield this._methodCall();
      yield this._callPromise(cmd, () => ({}));
      return {};
    });
  }
  /** Remove a key from a map channel without holding a MapSubscription.
   * Use this when you need to remove a key from outside a subscription context.
   * When you already hold a MapSubscription, prefer `sub.remove(key)` instead —
   * it enforces the method-call guard and cancels any pending debounced publish. */
  mapRemove(channel, key) {
    return __awaiter(this, void 0, void 0, function* () {
      const cmd = {
        publish: { channel, type: 1, key, removed: true }
      };
      yield this._methodCall();
      yield this._callPromise(cmd, () => ({}));
      return {};
    });
  }
  /** history for a channel. By default it does not return publications (only current
   *  StreamPosition data) – provide an explicit limit > 0 to load publications.*/
  history(channel, options) {
    return __awaiter(this, void 0, void 0, function* () {
      const cmd = {
        history: this._getHistoryRequest(channel, options)
      };
      yield this._methodCall();
      const result = yield this._callPromise(cmd, (reply) => reply.history);
      const publications = [];
      if (result.publications) {
        for (let i = 0; i < result.publications.length; i++) {
          publications.push(this._getPublicationContext(channel, result.publications[i]));
        }
      }
      return {
        publications,
        epoch: result.epoch || "",
        offset: toOffset(result.offset)
      };
    });
  }
  /** presence for a channel. */
  presence(channel) {
    return __awaiter(this, void 0, void 0, function* () {
      const cmd = {
        presence: {
          channel
        }
      };
      yield this._methodCall();
      const result = yield this._callPromise(cmd, (reply) => reply.presence);
      const clients = result.presence;
      for (const clientId in clients) {
        if (Object.prototype.hasOwnProperty.call(clients, clientId)) {
          const rawClient = clients[clientId];
          const connInfo = rawClient["conn_info"];
          const chanInfo = rawClient["chan_info"];
          if (connInfo) {
            rawClient.connInfo = connInfo;
          }
          if (chanInfo) {
            rawClient.chanInfo = chanInfo;
          }
        }
      }
      return { clients };
    });
  }
  presenceStats(channel) {
    return __awaiter(this, void 0, void 0, function* () {
      const cmd = {
        "presence_stats": {
          channel
        }
      };
      yield this._methodCall();
      const result = yield this._callPromise(cmd, (reply) => {
        return reply.presence_stats;
      });
      return {
        numUsers: result.num_users,
        numClients: result.num_clients
      };
    });
  }
  /** start command batching (collect into temporary buffer without sending to a server)
   * until stopBatching called.*/
  startBatching() {
    this._batching = true;
  }
  /** stop batching commands and flush collected commands to the
   * network (all in one request/frame).*/
  stopBatching() {
    const self = this;
    Promise.resolve().then(function() {
      Promise.resolve().then(function() {
        self._batching = false;
        self._flush();
      });
    });
  }
  _debug(...args) {
    if (!this._debugEnabled) {
      return;
    }
    log("debug", args);
  }
  _codecName() {
    return this._codec.name();
  }
  /** @internal */
  _formatOverride() {
    return;
  }
  _configure() {
    if (!("Promise" in environment)) {
      throw new Error("Promise polyfill required");
    }
    if (!this._endpoint) {
      throw new Error("endpoint configuration required");
    }
    if (this._config.token !== null) {
      this._token = this._config.token;
    }
    if (this._config.data !== null) {
      this._data = this._config.data;
    }
    this._codec = new JsonCodec();
    this._formatOverride();
    if (this._config.debug === true || localStorageItem("centrifuge.debug")) {
      this._debugEnabled = true;
    }
    this._debug("config", this._config);
    if (typeof this._endpoint === "string") ;
    else if (Array.isArray(this._endpoint)) {
      this._transports = this._endpoint;
      this._emulation = true;
      for (const i in this._transports) {
        if (this._transports.hasOwnProperty(i)) {
          const transportConfig = this._transports[i];
          if (!transportConfig.endpoint || !transportConfig.transport) {
            throw new Error("malformed transport configuration");
          }
          const transportName = transportConfig.transport;
          if (["websocket", "http_stream", "sse", "sockjs", "webtransport"].indexOf(transportName) < 0) {
            throw new Error("unsupported transport name: " + transportName);
          }
        }
      }
    } else {
      throw new Error("unsupported url configuration type: only string or array of objects are supported");
    }
  }
  // Returns the number of the transition made, or 0 if the client already was in newState.
  _setState(newState) {
    if (this.state !== newState) {
      this._reconnecting = false;
      const oldState = this.state;
      this.state = newState;
      const transition = ++this._stateTransitions;
      if (newState === State.Connecting) {
        this._setNetworkEvents();
        this._setPageEvents();
      } else if (newState === State.Disconnected) {
        this._clearNetworkEvents();
        this._clearPageEvents();
      }
      this.emit("state", { newState, oldState });
      return transition;
    }
    return 0;
  }
  // Whether an event handler made another state transition after the given one
  // (as returned by _setState), so that the given one is outdated.
  _transitionSuperseded(transition) {
    return transition !== 0 && this._stateTransitions !== transition;
  }
  _isDisconnected() {
    return this.state === State.Disconnected;
  }
  _isConnecting() {
    return this.state === State.Connecting;
  }
  _isConnected() {
    return this.state === State.Connected;
  }
  _nextCommandId() {
    return ++this._commandId;
  }
  _setNetworkEvents() {
    if (this._networkEvents !== null) {
      return;
    }
    let eventTarget = null;
    if (this._config.networkEventTarget !== null) {
      eventTarget = this._config.networkEventTarget;
    } else if (typeof environment.addEventListener !== "undefined") {
      eventTarget = environment;
    }
    if (eventTarget) {
      const onOffline = () => {
        this._debug("offline event triggered");
        if (this.state === State.Connected || this.state === State.Connecting) {
          this._deviceWentOffline = true;
          this._disconnect(connectingCodes.transportClosed, "transport closed", true);
        }
      };
      const onOnline = () => {
        this._debug("online event triggered");
        const wentOffline = this._deviceWentOffline;
        this._deviceWentOffline = false;
        if (this.state !== State.Connecting) {
          return;
        }
        if (wentOffline && !this._transportClosed) {
          this._abortedTransportId = this._transportId;
          this._disconnect(connectingCodes.transportClosed, "transport closed", true);
        }
        this._clearReconnectTimeout();
        this._startReconnecting();
      };
      eventTarget.addEventListener("offline", onOffline);
      eventTarget.addEventListener("online", onOnline);
      this._networkEvents = { target: eventTarget, onOffline, onOnline };
    }
  }
  // The online listener drives reconnect, so listeners stay until the client is
  // disconnected; removing them then lets a disconnected client be garbage-collected.
  _clearNetworkEvents() {
    if (this._networkEvents === null) {
      return;
    }
    const { target, onOffline, onOnline } = this._networkEvents;
    if (!isFunction(target.removeEventListener)) {
      this._debug("network event target has no removeEventListener, listeners kept");
      return;
    }
    target.removeEventListener("offline", onOffline);
    target.removeEventListener("online", onOnline);
    this._networkEvents = null;
  }
  // A page entering the back/forward cache is frozen, but the browser may keep its
  // socket open: the server then sees a client that stopped answering pings. So the
  // transport is closed when the page is hidden into the cache, and the client
  // reconnects as soon as the page is restored from it. The reconnect is scheduled
  // as usual too: its timer does not run in a frozen page, and it still reconnects
  // a page which was not frozen, or was restored without a pageshow event.
  _setPageEvents() {
    if (this._pageEvents !== null) {
      return;
    }
    let eventTarget = null;
    if (this._config.pageEventTarget !== null) {
      eventTarget = this._config.pageEventTarget;
    } else if (typeof environment.addEventListener !== "undefined") {
      eventTarget = environment;
    }
    if (!eventTarget) {
      return;
    }
    const onPageHide = (e) => {
      if (!e.persisted) {
        return;
      }
      this._debug("page entered back/forward cache");
      if (this.state === State.Connected || this.state === State.Connecting) {
        this._pageCached = true;
        this._disconnect(connectingCodes.transportClosed, "page entered back/forward cache", true);
      }
    };
    const onPageShow = (e) => {
      if (!e.persisted) {
        return;
      }
      this._debug("page restored from back/forward cache");
      const cached = this._pageCached;
      this._pageCached = false;
      if (!cached || this.state !== State.Connecting) {
        return;
      }
      this._clearReconnectTimeout();
      this._startReconnecting();
    };
    eventTarget.addEventListener("pagehide", onPageHide);
    eventTarget.addEventListener("pageshow", onPageShow);
    this._pageEvents = { target: eventTarget, onPageHide, onPageShow };
  }
  // Removed once the client is disconnected, like the network listeners.
  _clearPageEvents() {
    if (this._pageEvents === null) {
      return;
    }
    const { target, onPageHide, onPageShow } = this._pageEvents;
    if (!isFunction(target.removeEventListener)) {
      this._debug("page event target has no removeEventListener, listeners kept");
      return;
    }
    target.removeEventListener("pagehide", onPageHide);
    target.removeEventListener("pageshow", onPageShow);
    this._pageEvents = null;
  }
  _getReconnectDelay() {
    const delay = backoff(this._reconnectAttempts, this._config.minReconnectDelay, this._config.maxReconnectDelay);
    this._reconnectAttempts += 1;
    return delay;
  }
  // See _connectResponse: an emulation connection resets the backoff once it
  // proved usable.
  _resetReconnectAttemptsIfPending() {
    if (this._reconnectAttemptsResetPending) {
      this._reconnectAttemptsResetPending = false;
      this._reconnectAttempts = 0;
    }
  }
  _clearOutgoingRequests() {
    for (const id in this._callbacks) {
      if (this._callbacks.hasOwnProperty(id)) {
        const callbacks = this._callbacks[id];
        clearTimeout(callbacks.timeout);
        const errback = callbacks.errback;
        if (!errback) {
          continue;
        }
        errback({ error: this._createErrorObject(errorCodes.connectionClosed, "connection closed") });
      }
    }
    this._callbacks = {};
  }
  _clearConnectedState() {
    this._client = null;
    this._clearServerPingTimeout();
    this._clearRefreshTimeout();
    for (const channel in this._subs) {
      if (!this._subs.hasOwnProperty(channel)) {
        continue;
      }
      const sub = this._subs[channel];
      if (sub.state === SubscriptionState.Subscribed) {
        sub._setSubscribing(subscribingCodes.transportClosed, "transport closed");
      }
    }
    for (const channel in this._serverSubs) {
      if (this._serverSubs.hasOwnProperty(channel) && this._serverSubs[channel].subscribed) {
        this._serverSubs[channel].subscribed = false;
        this.emit("subscribing", { channel });
      }
    }
  }
  _handleWriteError(commands) {
    for (const command of commands) {
      const id = command.id;
      if (!(id in this._callbacks)) {
        continue;
      }
      const callbacks = this._callbacks[id];
      clearTimeout(this._callbacks[id].timeout);
      delete this._callbacks[id];
      const errback = callbacks.errback;
      errback({ error: this._createErrorObject(errorCodes.transportWriteError, "transport write error") });
    }
  }
  _transportSendCommands(commands) {
    if (!commands.length) {
      return true;
    }
    if (!this._transport) {
      return false;
    }
    try {
      this._transport.send(this._codec.encodeCommands(commands), this._session, this._node);
    } catch (e) {
      this._debug("error writing commands", e);
      this._handleWriteError(commands);
      return false;
    }
    return true;
  }
  _advanceTransportIndex() {
    this._currentTransportIndex++;
    if (this._currentTransportIndex >= this._transports.length) {
      this._triedAllTransports = true;
      this._currentTransportIndex = 0;
    }
  }
  // Transport dependencies from the config, or else from globals. An absent one
  // stays null, not undefined: supported() of sockjs, sse and http_stream only
  // checks `!== null`.
  _resolveTransportDeps() {
    let websocket;
    if (this._config.websocket !== null) {
      websocket = this._config.websocket;
    } else {
      if (!(typeof environment.WebSocket !== "function" && typeof environment.WebSocket !== "object")) {
        websocket = environment.WebSocket;
      }
    }
    let sockjs = null;
    if (this._config.sockjs !== null) {
      sockjs = this._config.sockjs;
    } else {
      if (typeof environment.SockJS !== "undefined") {
        sockjs = environment.SockJS;
      }
    }
    let eventsource = null;
    if (this._config.eventsource !== null) {
      eventsource = this._config.eventsource;
    } else {
      if (typeof environment.EventSource !== "undefined") {
        eventsource = environment.EventSource;
      }
    }
    let fetchFunc = null;
    if (this._config.fetch !== null) {
      fetchFunc = this._config.fetch;
    } else {
      if (typeof environment.fetch !== "undefined") {
        fetchFunc = environment.fetch;
      }
    }
    let readableStream = null;
    if (this._config.readableStream !== null) {
      readableStream = this._config.readableStream;
    } else {
      if (typeof environment.ReadableStream !== "undefined") {
        readableStream = environment.ReadableStream;
      }
    }
    return { websocket, sockjs, eventsource, fetchFunc, readableStream };
  }
  // Constructs a transport, without checking that it is supported.
  _createTransport(transportName, endpoint, deps) {
    switch (transportName) {
      case "websocket":
        return new WebsocketTransport(endpoint, {
          websocket: deps.websocket
        });
      default:
        throw new Error("unknown transport " + transportName);
    }
  }
  // Throws for a configuration no retry can fix. Called from connect() before
  // the state changes, so the client stays disconnected, and before a token or
  // data is loaded, so it fails the same way with getToken or getData.
  _validateTransportConfig() {
    const deps = this._resolveTransportDeps();
    if (!this._emulation) {
      if (startsWith(this._endpoint, "http")) {
        throw new Error("Provide explicit transport endpoints configuration in case of using HTTP (i.e. using array of TransportEndpoint instead of a single string), or use ws(s):// scheme in an endpoint if you aimed using WebSocket transport");
      }
      if (!this._createTransport("websocket", this._endpoint, deps).supported()) {
        throw new Error(websocketNotFound);
      }
      return;
    }
    for (const transportConfig of this._transports) {
      if (this._createTransport(transportConfig.transport, transportConfig.endpoint, deps).supported()) {
        return;
      }
    }
    throw new Error("no supported transport found");
  }
  _initializeTransport() {
    const deps = this._resolveTransportDeps();
    let selected = null;
    if (!this._emulation) {
      this._debug("client will use websocket");
      const candidate = this._createTransport("websocket", this._endpoint, deps);
      if (candidate.supported()) {
        selected = candidate;
      }
    } else {
      if (this._currentTransportIndex >= this._transports.length) {
        this._triedAllTransports = true;
        this._currentTransportIndex = 0;
      }
      for (let count = 0; count < this._transports.length; count++) {
        const transportConfig = this._transports[this._currentTransportIndex];
        this._debug("trying " + transportConfig.transport + " transport");
        const candidate = this._createTransport(transportConfig.transport, transportConfig.endpoint, deps);
        if (candidate.supported()) {
          selected = candidate;
          break;
        }
        this._debug(transportConfig.transport + " transport not available");
        this._advanceTransportIndex();
      }
    }
    if (selected === null) {
      const message = this._emulation ? "no supported transport found" : websocketNotFound;
      this._debug(message);
      this._disconnect(connectingCodes.transportClosed, "transport closed", true);
      this.emit("error", {
        type: "transport",
        error: {
          code: errorCodes.transportClosed,
          message
        }
      });
      return;
    }
    this._transport = selected;
    const self = this;
    const transport = this._transport;
    const transportId = this._nextTransportId();
    self._debug("id of transport", transportId);
    let wasOpen = false;
    const initialCommands = [];
    if (this._transport.emulation()) {
      const connectCommand = self._sendConnect(true);
      initialCommands.push(connectCommand);
    }
    this._transportClosed = false;
    const failTransport = function(reason) {
      if (self._transportId != transportId) {
        self._debug("failure of non-actual transport", reason);
        return;
      }
      self._debug(transport.name(), "transport failed:", reason);
      if (self._emulation && !self._transportWasOpen) {
        self._advanceTransportIndex();
      }
      self._abortedTransportId = transportId;
      self._disconnect(connectingCodes.transportClosed, "transport closed", true);
      self.emit("error", {
        type: "transport",
        error: {
          code: errorCodes.transportClosed,
          message: reason
        },
        transport: transport.name()
      });
    };
    this._clearConnectTimeout();
    const connectDue = Date.now() + this._config.timeout;
    this._connectTimeout = setTimeout(function() {
      const late = Date.now() - connectDue >= lateCallTimer;
      self._connectTimeout = setTimeout(function() {
        self._connectTimeout = null;
        failTransport("connect timeout");
      }, late ? lateCallGrace : 0);
    }, this._config.timeout);
    const callbacks = {
      onOpen: function() {
        if (self._transportId != transportId) {
          self._debug("open callback from non-actual transport");
          try {
            transport.close();
          } catch (e) {
            self._debug("error closing transport", e);
          }
          return;
        }
        self._clearConnectTimeout();
        wasOpen = true;
        self._debug(transport.subName(), "transport open");
        if (transport.emulation()) {
          return;
        }
        self._transportIsOpen = true;
        self._transportWasOpen = true;
        self.startBatching();
        try {
          self._sendConnect(false);
          self._sendSubscribeCommands();
        } catch (e) {
          self._reportDispatchError(e);
        } finally {
          self.stopBatching();
        }
        self.emit("__centrifuge_debug:connect_frame_sent", {});
      },
      onError: function(e) {
        if (self._transportId != transportId) {
          self._debug("error callback from non-actual transport");
          return;
        }
        self._debug("transport level error", e);
      },
      onClose: function handleClose(closeEvent, dispatched) {
        if (self._transportId != transportId) {
          self._debug("close callback from non-actual transport");
          return;
        }
        if (!dispatched && (transport.emulation() || transport.name() === "webtransport")) {
          self._dispatchPromise.then(() => handleClose(closeEvent, true));
          return;
        }
        self._clearConnectTimeout();
        self._debug(transport.subName(), "transport closed");
        self._transportClosed = true;
        self._transportIsOpen = false;
        let reason = "connection closed";
        let needReconnect = true;
        let code = 0;
        if (closeEvent && "code" in closeEvent && closeEvent.code) {
          code = closeEvent.code;
        }
        if (closeEvent && closeEvent.reason) {
          try {
            const advice = JSON.parse(closeEvent.reason);
            reason = advice.reason;
            needReconnect = advice.reconnect;
          } catch (e) {
            reason = closeEvent.reason;
            if (code >= 3500 && code < 4e3 || code >= 4500 && code < 5e3) {
              needReconnect = false;
            }
          }
        }
        if (code < 3e3) {
          if (code === 1009) {
            code = disconnectedCodes.messageSizeLimit;
            reason = "message size limit exceeded";
            needReconnect = false;
          } else {
            code = connectingCodes.transportClosed;
            reason = "transport closed";
          }
          if (self._emulation && !self._transportWasOpen) {
            self._advanceTransportIndex();
          }
        } else {
          self._transportWasOpen = true;
        }
        const teardown = function() {
          self._reconnecting = false;
          self._disconnect(code, reason, needReconnect);
        };
        if (self._isConnecting() && !wasOpen) {
          self._abortedTransportId = transportId;
          self._emitError({
            type: "transport",
            error: {
              code: errorCodes.transportClosed,
              message: "transport closed"
            },
            transport: transport.name()
          }, teardown);
        } else {
          teardown();
        }
      },
      onMessage: function(data) {
        if (self._transportId != transportId) {
          self._debug("message from non-actual transport");
          return;
        }
        self._dataReceived(data, transportId);
      }
    };
    const onInitializeError = function(e) {
      self._debug("error initializing transport", e);
      failTransport(e instanceof Error ? e.message : String(e));
    };
    let initialized;
    try {
      initialized = transport.initialize(this._codecName(), callbacks, this._codec.encodeCommands(initialCommands));
    } catch (e) {
      onInitializeError(e);
      return;
    }
    if (initialized && isFunction(initialized.then)) {
      initialized.then(null, onInitializeError);
    }
    self.emit("__centrifuge_debug:transport_initialized", {});
  }
  _sendConnect(skipSending) {
    const connectCommand = this._constructConnectCommand();
    const self = this;
    const transportId = this._transportId;
    const token = this._token;
    this._call(connectCommand, skipSending).then((resolveCtx) => {
      try {
        self._connectResponse(resolveCtx.reply.connect);
      } catch (err) {
        self._dispatchFailed(err);
      } finally {
        if (resolveCtx.next) {
          resolveCtx.next();
        }
      }
    }, (rejectCtx) => {
      try {
        if (transportId === self._abortedTransportId) {
          self._debug("connect command of a transport aborted by the client rejected");
        } else {
          self._connectError(rejectCtx.error, self._transportId !== transportId, rejectCtx.next !== void 0, token);
        }
      } catch (err) {
        self._rejectionFailed(err, rejectCtx);
      } finally {
        if (rejectCtx.next) {
          rejectCtx.next();
        }
      }
    });
    return connectCommand;
  }
  _startReconnecting() {
    this._debug("start reconnecting");
    if (!this._isConnecting()) {
      this._debug("stop reconnecting: client not in connecting state");
      return;
    }
    if (this._reconnecting) {
      this._debug("reconnect already in progress, return from reconnect routine");
      return;
    }
    if (this._transportClosed === false) {
      this._debug("waiting for transport close");
      return;
    }
    this._reconnecting = true;
    const disconnects = this._disconnects;
    const emptyToken = this._token === "";
    const needTokenRefresh = this._refreshRequired || emptyToken && this._config.getToken !== null;
    let tokenResolved = false;
    let dataResolved = false;
    if (!needTokenRefresh) {
      if (this._config.getData) {
        this._getData().then((data) => {
          dataResolved = true;
          if (this._attemptAborted(disconnects)) {
            return;
          }
          this._data = data;
          this._initializeTransport();
        }).catch((e) => this._handleGetDataError(e, disconnects, dataResolved));
      } else {
        this._initializeTransport();
      }
      return;
    }
    const self = this;
    this._getToken().then(function(token) {
      tokenResolved = true;
      if (self._attemptAborted(disconnects)) {
        return;
      }
      if (token == null || token == void 0) {
        self._failUnauthorized();
        return;
      }
      self._token = token;
      self._debug("connection token refreshed");
      if (self._config.getData) {
        self._getData().then(function(data) {
          dataResolved = true;
          if (self._attemptAborted(disconnects)) {
            return;
          }
          self._data = data;
          self._initializeTransport();
        }).catch((e) => self._handleGetDataError(e, disconnects, dataResolved));
      } else {
        self._initializeTransport();
      }
    }).catch(function(e) {
      if (self._attemptAborted(disconnects)) {
        if (tokenResolved) {
          self._reportDispatchError(e);
        }
        return;
      }
      if (e instanceof UnauthorizedError) {
        self._failUnauthorized();
        return;
      }
      self._emitError({
        "type": "connectToken",
        "error": {
          code: errorCodes.clientConnectToken,
          message: e !== void 0 ? e.toString() : ""
        }
      }, () => {
        const delay = self._getReconnectDelay();
        self._debug("error on getting connection token, reconnect after " + delay + " milliseconds", e);
        self._reconnecting = false;
        self._reconnectTimeout = setTimeout(() => {
          self._startReconnecting();
        }, delay);
      });
    });
  }
  // Emits an error event, then runs the continuation: not when a handler disconnected
  // the client (or threw, which disconnects it), maybe to connect again, whose new
  // attempt the continuation must not touch.
  _emitError(ctx, continuation) {
    const disconnects = this._disconnects;
    try {
      this.emit("error", ctx);
    } finally {
      if (this._disconnects === disconnects) {
        continuation();
      }
    }
  }
  _attemptAborted(disconnects) {
    return !this._isConnecting() || this._disconnects !== disconnects;
  }
  // resolved: the data promise resolved, so the error was thrown by its continuation.
  _handleGetDataError(e, disconnects, resolved) {
    if (this._attemptAborted(disconnects)) {
      if (resolved) {
        this._reportDispatchError(e);
      }
      return;
    }
    if (e instanceof UnauthorizedError) {
      this._failUnauthorized();
      return;
    }
    this._emitError({
      type: "connectData",
      error: {
        code: errorCodes.badConfiguration,
        message: (e === null || e === void 0 ? void 0 : e.toString()) || ""
      }
    }, () => {
      const delay = this._getReconnectDelay();
      this._debug("error on getting connect data, reconnect after " + delay + " milliseconds", e);
      this._reconnecting = false;
      this._reconnectTimeout = setTimeout(() => {
        this._startReconnecting();
      }, delay);
    });
  }
  // stale: the error belongs to a transport that was already closed. It is still
  // reported, but must not tear down the current connection attempt.
  // replied: the server returned the error in a reply, so the transport works.
  // token: the token the connect command carried.
  _connectError(err, stale, replied, token) {
    if (this.state !== State.Connecting) {
      return;
    }
    if (err.code === 109 && token === this._token) {
      this._refreshRequired = true;
    }
    if (err.code < 100 || err.temporary === true || err.code === 109) {
      this._emitError({
        "type": "connect",
        "error": err
      }, () => {
        if (stale) {
          return;
        }
        if (replied) {
          this._transportWasOpen = true;
        }
        if (!replied && this._emulation && !this._transportWasOpen) {
          this._advanceTransportIndex();
        }
        this._debug("closing transport due to connect error");
        this._disconnect(err.code, err.message, true);
      });
    } else if (!stale) {
      this._disconnect(err.code, err.message, false);
    }
  }
  _scheduleReconnect() {
    if (!this._isConnecting()) {
      return;
    }
    let isInitialHandshake = false;
    if (this._emulation && !this._transportWasOpen && !this._triedAllTransports) {
      isInitialHandshake = true;
    }
    const delay = isInitialHandshake ? 0 : this._getReconnectDelay();
    this._debug("reconnect after " + delay + " milliseconds");
    this._clearReconnectTimeout();
    this._reconnectTimeout = setTimeout(() => {
      this._startReconnecting();
    }, delay);
  }
  _constructConnectCommand() {
    const req = {};
    if (this._token) {
      req.token = this._token;
    }
    if (this._data) {
      req.data = this._data;
    }
    if (this._config.name) {
      req.name = this._config.name;
    }
    if (this._config.version) {
      req.version = this._config.version;
    }
    if (Object.keys(this._config.headers).length > 0) {
      req.headers = this._config.headers;
    }
    const subs = {};
    let hasSubs = false;
    for (const channel in this._serverSubs) {
      if (this._serverSubs.hasOwnProperty(channel) && this._serverSubs[channel].recoverable) {
        hasSubs = true;
        const sub = {
          "recover": true
        };
        const pending = this._pendingServerSubOffsets[channel];
        const offset = pending !== void 0 && pending !== null ? pending : this._serverSubs[channel].offset;
        if (offset) {
          sub["offset"] = offset;
        }
        if (this._serverSubs[channel].epoch) {
          sub["epoch"] = this._serverSubs[channel].epoch;
        }
        subs[channel] = sub;
      }
    }
    if (hasSubs) {
      req.subs = subs;
    }
    return {
      connect: req
    };
  }
  _getHistoryRequest(channel, options) {
    const req = {
      channel
    };
    if (options !== void 0) {
      if (options.since) {
        req.since = {
          offset: options.since.offset
        };
        if (options.since.epoch) {
          req.since.epoch = options.since.epoch;
        }
      }
      if (options.limit !== void 0) {
        req.limit = options.limit;
      }
      if (options.reverse === true) {
        req.reverse = true;
      }
    }
    return req;
  }
  _methodCall() {
    if (this._isConnected()) {
      return Promise.resolve();
    }
    return new Promise((res, rej) => {
      const id = this._nextPromiseId();
      const timeout2 = setTimeout(() => {
        delete this._promises[id];
        rej({ code: errorCodes.timeout, message: "timeout" });
      }, this._config.timeout);
      this._promises[id] = {
        timeout: timeout2,
        resolve: res,
        reject: rej
      };
    });
  }
  _callPromise(cmd, resultCB) {
    return new Promise((resolve, reject) => {
      this._call(cmd, false).then((resolveCtx) => {
        var _a;
        try {
          resolve(resultCB(resolveCtx.reply));
        } catch (e) {
          reject(e);
        } finally {
          (_a = resolveCtx.next) === null || _a === void 0 ? void 0 : _a.call(resolveCtx);
        }
      }, (rejectCtx) => {
        var _a;
        reject(rejectCtx.error);
        (_a = rejectCtx.next) === null || _a === void 0 ? void 0 : _a.call(rejectCtx);
      });
    });
  }
  _dataReceived(data, transportId = this._transportId) {
    let replies;
    try {
      replies = this._codec.decodeReplies(data);
    } catch (e) {
      this._debug("error decoding received data", e);
      if (this._emulation && !this._transportWasOpen) {
        this._advanceTransportIndex();
      }
      this._disconnect(connectingCodes.transportClosed, "transport closed", true);
      return;
    }
    if (this._serverPing > 0 && replies.length > 0) {
      this._waitServerPing();
    }
    this._dispatchPromise = this._dispatchPromise.then(() => new Promise((resolve) => {
      this._dispatchSynchronized(replies, resolve, transportId);
    }));
  }
  _dispatchSynchronized(replies, finishDispatch, transportId) {
    let p = Promise.resolve();
    for (const i in replies) {
      if (replies.hasOwnProperty(i)) {
        p = p.then(() => {
          if (this._transportId !== transportId) {
            return;
          }
          return this._dispatchReply(replies[i]);
        }).catch((err) => {
          this._dispatchFailed(err);
        });
      }
    }
    p.then(() => {
      finishDispatch();
    });
  }
  /** @internal Every event reaches the application's handlers through here. */
  emit(event, ...args) {
    try {
      return EventEmitter.prototype.emit.call(this, event, ...args);
    } catch (e) {
      this._handlerFailed(e);
      return true;
    }
  }
  // An exception escaping an application event handler. The SDK can't know what the
  // handler left undone, so it fails loudly instead of going on as if nothing
  // happened: the client disconnects without reconnecting, and the exception is
  // re-raised as an unhandled rejection. The SDK's own work continues as if the
  // handler had returned, as for a handler calling disconnect(), so no state change
  // is left half done.
  /** @internal */
  _handlerFailed(err) {
    this._handlerFailures++;
    this._reportDispatchError(err);
    this._disconnect(disconnectedCodes.badProtocol, `exception in event handler: ${errorMessage(err)}`, false);
  }
  // An exception while handling a reply, other than one of an event handler (see
  // _handlerFailed), may have left the client's state inconsistent. The client stops
  // in a state the application can see: it disconnects without reconnecting, so no
  // later reply is processed.
  _dispatchFailed(err) {
    this._reportDispatchError(err);
    this._disconnect(disconnectedCodes.badProtocol, `exception during message handling: ${errorMessage(err)}`, false);
  }
  // The exception is surfaced as an unhandled rejection, as before.
  _reportDispatchError(err) {
    this._debug("error dispatching reply", err);
    Promise.reject(err);
  }
  // An exception, other than one of an event handler, while handling a rejected
  // command. A rejection with next() carries a reply, and is handled as any reply
  // (see _dispatchFailed). A timeout or a teardown doesn't: stopping the client would
  // cancel the reconnect or retry the handling scheduled, so the exception is only
  // reported.
  _rejectionFailed(err, rejectCtx) {
    if (rejectCtx.next !== void 0) {
      this._dispatchFailed(err);
    } else {
      this._reportDispatchError(err);
    }
  }
  _dispatchReply(reply) {
    let next;
    const p = new Promise((resolve) => {
      next = resolve;
    });
    if (reply === void 0 || reply === null) {
      this._debug("dispatch: got undefined or null reply");
      next();
      return p;
    }
    const id = reply.id;
    if (id && id > 0) {
      this._handleReply(reply, next);
    } else {
      if (!reply.push) {
        this._handleServerPing(next);
      } else {
        this._handlePush(reply.push, next);
      }
    }
    return p;
  }
  _call(cmd, skipSending) {
    return new Promise((resolve, reject) => {
      cmd.id = this._nextCommandId();
      this._registerCall(cmd.id, resolve, reject);
      if (!skipSending) {
        this._addCommand(cmd);
      }
    });
  }
  _startConnecting() {
    this._debug("start connecting");
    const transition = this.state !== State.Connecting ? this._stateTransitions + 1 : 0;
    try {
      this._setState(State.Connecting);
      if (transition && !this._transitionSuperseded(transition)) {
        this.emit("connecting", { code: connectingCodes.connectCalled, reason: "connect called" });
      }
    } finally {
      if (!this._transitionSuperseded(transition)) {
        this._client = null;
        this._startReconnecting();
      }
    }
  }
  _disconnect(code, reason, reconnect) {
    if (code === disconnectedCodes.stateInvalidated) {
      if (this._config.getToken !== null) {
        this._token = "";
        this._refreshRequired = true;
      }
      for (const channel in this._subs) {
        if (this._subs.hasOwnProperty(channel)) {
          this._subs[channel]._invalidateState();
        }
      }
      for (const channel in this._serverSubs) {
        if (this._serverSubs.hasOwnProperty(channel)) {
          this._serverSubs[channel].offset = 0;
          this._serverSubs[channel].epoch = "_";
        }
      }
    }
    if (this._isDisconnected()) {
      if (!reconnect) {
        this._rejectPromises({ code: errorCodes.clientDisconnected, message: "disconnected" });
      }
      return;
    }
    const previousState = this.state;
    const newState = reconnect ? State.Connecting : State.Disconnected;
    this._transportIsOpen = false;
    this._reconnecting = false;
    if (previousState === State.Connecting) {
      this._clearReconnectTimeout();
    }
    this._clearConnectTimeout();
    this._nextTransportId();
    this._disconnects++;
    if (this._transport) {
      this._debug("closing existing transport");
      const transport = this._transport;
      this._transport = null;
      try {
        transport.close();
      } catch (e) {
        this._debug("error closing transport", e);
      }
      this._transportClosed = true;
    } else {
      this._debug("no transport to close");
    }
    this._reconnectAttemptsResetPending = false;
    this._commands = [];
    this._clearOutgoingRequests();
    if (!reconnect) {
      this._rejectPromises({ code: errorCodes.clientDisconnected, message: "disconnected" });
      this._deviceWentOffline = false;
      this._pageCached = false;
    }
    const ctx = {
      code,
      reason
    };
    const transition = this.state !== newState ? this._stateTransitions + 1 : 0;
    try {
      try {
        this._setState(newState);
      } finally {
        if (!reconnect && !this._transitionSuperseded(transition)) {
          this._rejectPromises({ code: errorCodes.clientDisconnected, message: "disconnected" });
        }
        if (previousState === State.Connected) {
          this._clearConnectedState();
        }
      }
      if (transition && !this._transitionSuperseded(transition)) {
        if (reconnect) {
          this.emit("connecting", ctx);
        } else {
          this.emit("disconnected", ctx);
        }
      }
    } finally {
      if (reconnect && !this._transitionSuperseded(transition)) {
        this._scheduleReconnect();
      }
    }
  }
  _failUnauthorized() {
    this._disconnect(disconnectedCodes.unauthorized, "unauthorized", false);
  }
  _getToken() {
    this._debug("get connection token");
    if (!this._config.getToken) {
      try {
        this.emit("error", {
          type: "configuration",
          error: {
            code: errorCodes.badConfiguration,
            message: "token expired but no getToken function set in the configuration"
          }
        });
      } catch (e) {
        this._reportDispatchError(e);
      }
      return Promise.reject(new UnauthorizedError(""));
    }
    try {
      return Promise.resolve(this._config.getToken({}));
    } catch (e) {
      return Promise.reject(e);
    }
  }
  // See _getToken.
  _getData() {
    try {
      return Promise.resolve(this._config.getData());
    } catch (e) {
      return Promise.reject(e);
    }
  }
  _refresh() {
    const clientId = this._client;
    const self = this;
    let tokenResolved = false;
    this._getToken().then(function(token) {
      tokenResolved = true;
      if (clientId !== self._client) {
        return;
      }
      if (!token) {
        self._failUnauthorized();
        return;
      }
      self._token = token;
      self._debug("connection token refreshed");
      if (!self._isConnected()) {
        return;
      }
      const cmd = {
        refresh: { token: self._token }
      };
      self._call(cmd, false).then((resolveCtx) => {
        try {
          self._refreshResponse(resolveCtx.reply.refresh);
        } catch (err) {
          self._dispatchFailed(err);
        } finally {
          if (resolveCtx.next) {
            resolveCtx.next();
          }
        }
      }, (rejectCtx) => {
        try {
          if (clientId === self._client) {
            self._refreshError(rejectCtx.error);
          }
        } catch (err) {
          self._rejectionFailed(err, rejectCtx);
        } finally {
          if (rejectCtx.next) {
            rejectCtx.next();
          }
        }
      });
    }).catch(function(e) {
      if (clientId !== self._client || !self._isConnected()) {
        if (tokenResolved) {
          self._reportDispatchError(e);
        }
        return;
      }
      if (e instanceof UnauthorizedError) {
        self._failUnauthorized();
        return;
      }
      self._emitError({
        type: "refreshToken",
        error: {
          code: errorCodes.clientRefreshToken,
          message: e !== void 0 ? e.toString() : ""
        }
      }, () => {
        self._refreshTimeout = setTimeout(() => self._refresh(), self._getRefreshRetryDelay());
      });
    });
  }
  _refreshError(err) {
    if (err.code < 100 || err.temporary === true) {
      this._emitError({
        type: "refresh",
        error: err
      }, () => {
        this._refreshTimeout = setTimeout(() => this._refresh(), this._getRefreshRetryDelay());
      });
    } else {
      this._disconnect(err.code, err.message, false);
    }
  }
  _getRefreshRetryDelay() {
    return backoff(0, 5e3, 1e4);
  }
  _refreshResponse(result) {
    if (this._refreshTimeout) {
      clearTimeout(this._refreshTimeout);
      this._refreshTimeout = null;
    }
    if (result.expires) {
      if (result.client) {
        this._client = result.client;
      }
      this._refreshTimeout = setTimeout(() => this._refresh(), ttlMilliseconds(result.ttl));
    }
  }
  // A new subscription of the channel waits for the unsubscribe of a removed one, and
  // of those removed before it still unsubscribing (see _setSubscribing of a
  // subscription): a subscription removed without sending an unsubscribe doesn't
  // drop one still pending.
  _recordRemovedUnsubscribe(sub) {
    const channel = sub.channel;
    const previous = this._removedUnsubscribes[channel];
    const own = sub._unsubPromise;
    const unsubscribed = previous ? Promise.all([previous, own]).then(() => void 0) : own;
    this._removedUnsubscribes[channel] = unsubscribed;
    unsubscribed.then(() => {
      if (this._removedUnsubscribes[channel] === unsubscribed) {
        delete this._removedUnsubscribes[channel];
      }
    });
  }
  // Resolves once a subscription of the channel removed from the client has
  // unsubscribed (see BaseSubscription._setSubscribing).
  // @ts-ignore – this is used by a subscription in subscription.ts.
  _removedSubscriptionUnsubscribed(channel) {
    return this._removedUnsubscribes[channel] || Promise.resolve();
  }
  _unsubscribe(sub) {
    if (!this._transportIsOpen) {
      return Promise.resolve();
    }
    const req = {
      channel: sub.channel
    };
    const cmd = { unsubscribe: req };
    const self = this;
    const transportId = this._transportId;
    const unsubscribePromise = new Promise((resolve, _) => {
      this._call(cmd, false).then((resolveCtx) => {
        resolve();
        if (resolveCtx.next) {
          resolveCtx.next();
        }
      }, (rejectCtx) => {
        resolve();
        if (rejectCtx.next) {
          rejectCtx.next();
        }
        if (self._transportId !== transportId) {
          self._debug("unsubscribe command of a closed transport rejected");
          return;
        }
        try {
          self._disconnect(connectingCodes.unsubscribeError, "unsubscribe error", true);
        } catch (err) {
          self._rejectionFailed(err, rejectCtx);
        }
      });
    });
    return unsubscribePromise;
  }
  _getSub(channel, id) {
    if (id && id > 0) {
      for (const ch in this._subs) {
        if (this._subs.hasOwnProperty(ch)) {
          const sub2 = this._subs[ch];
          if (sub2._id === id) {
            return sub2;
          }
        }
      }
      return null;
    }
    const sub = this._subs[channel];
    if (!sub) {
      return null;
    }
    return sub;
  }
  _isServerSub(channel) {
    return this._serverSubs[channel] !== void 0;
  }
  // The client-side subscription a push is for. The server allows one subscription
  // per channel: while a server-side subscription has the channel, its pushes
  // belong to it unless the client-side subscription is subscribed, e.g. when the
  // app kept an unsubscribed subscription object of that channel.
  _getSubForPush(channel, id) {
    const sub = this._getSub(channel, id);
    if (sub && channel && this._isServerSub(channel) && !sub._isSubscribed()) {
      return null;
    }
    return sub;
  }
  _sendSubscribeCommands() {
    const commands = [];
    for (const channel in this._subs) {
      if (!this._subs.hasOwnProperty(channel)) {
        continue;
      }
      const sub = this._subs[channel];
      if (sub._inflight === true) {
        continue;
      }
      if (sub._resubscribeTimeout !== null) {
        continue;
      }
      if (sub.state === SubscriptionState.Subscribing) {
        const cmd = sub._subscribe();
        if (cmd) {
          commands.push(cmd);
        }
      }
    }
    return commands;
  }
  _connectResponse(result) {
    this._transportIsOpen = true;
    this._transportWasOpen = true;
    if (this._transport !== null && this._transport.emulation()) {
      this._reconnectAttemptsResetPending = true;
    } else {
      this._reconnectAttempts = 0;
    }
    this._refreshRequired = false;
    this._deviceWentOffline = false;
    this._pageCached = false;
    if (this._isConnected()) {
      return;
    }
    this._client = result.client;
    const transition = this._setState(State.Connected);
    if (this._transitionSuperseded(transition)) {
      return;
    }
    if (this._refreshTimeout) {
      clearTimeout(this._refreshTimeout);
    }
    if (result.expires) {
      this._refreshTimeout = setTimeout(() => this._refresh(), ttlMilliseconds(result.ttl));
    }
    this._session = result.session;
    this._node = result.node;
    this.startBatching();
    this._sendSubscribeCommands();
    this.stopBatching();
    const ctx = {
      client: result.client,
      transport: this._transport.subName()
    };
    if (result.data) {
      ctx.data = result.data;
    }
    this.emit("connected", ctx);
    if (this._transitionSuperseded(transition)) {
      return;
    }
    this._resolvePromises();
    this._processServerSubs(result.subs || {}, transition);
    if (result.ping && result.ping > 0) {
      this._serverPing = result.ping * 1e3;
      this._sendPong = result.pong === true;
      this._waitServerPing();
    } else {
      this._serverPing = 0;
    }
  }
  _processServerSubs(subs, transition) {
    for (const channel in subs) {
      if (!subs.hasOwnProperty(channel)) {
        continue;
      }
      if (this._transitionSuperseded(transition)) {
        continue;
      }
      const sub = subs[channel];
      this._serverSubs[channel] = {
        "offset": toOffset(sub.offset),
        "epoch": sub.epoch,
        "recoverable": sub.recoverable || false,
        "subscribed": true
      };
      const subCtx = this._getSubscribeContext(channel, sub);
      this.emit("subscribed", subCtx);
    }
    for (const channel in subs) {
      if (!subs.hasOwnProperty(channel)) {
        continue;
      }
      const sub = subs[channel];
      if (sub.recovered) {
        const pubs = sub.publications || [];
        for (let i = 0; i < pubs.length && !this._transitionSuperseded(transition); i++) {
          this._handlePublication(channel, pubs[i]);
        }
      }
    }
    for (const channel in this._serverSubs) {
      if (!this._serverSubs.hasOwnProperty(channel)) {
        continue;
      }
      if (!subs[channel]) {
        this.emit("unsubscribed", { channel });
        delete this._serverSubs[channel];
      }
    }
  }
  _clearRefreshTimeout() {
    if (this._refreshTimeout !== null) {
      clearTimeout(this._refreshTimeout);
      this._refreshTimeout = null;
    }
  }
  _clearReconnectTimeout() {
    if (this._reconnectTimeout !== null) {
      clearTimeout(this._reconnectTimeout);
      this._reconnectTimeout = null;
    }
  }
  _clearConnectTimeout() {
    if (this._connectTimeout !== null) {
      clearTimeout(this._connectTimeout);
      this._connectTimeout = null;
    }
  }
  _clearServerPingTimeout() {
    if (this._serverPingTimeout !== null) {
      clearTimeout(this._serverPingTimeout);
      this._serverPingTimeout = null;
    }
  }
  _waitServerPing() {
    if (this._config.maxServerPingDelay === 0) {
      return;
    }
    if (!this._isConnected()) {
      return;
    }
    this._clearServerPingTimeout();
    const delay = this._serverPing + this._config.maxServerPingDelay;
    const due = Date.now() + delay;
    this._serverPingTimeout = setTimeout(() => {
      if (!this._isConnected()) {
        return;
      }
      const late = Date.now() - due >= lateCallTimer;
      this._serverPingTimeout = setTimeout(() => {
        if (!this._isConnected()) {
          return;
        }
        this._disconnect(connectingCodes.noPing, "no ping", true);
      }, late ? lateCallGrace : 0);
    }, delay);
  }
  _getSubscribeContext(channel, result) {
    const ctx = {
      channel,
      positioned: false,
      recoverable: false,
      wasRecovering: false,
      recovered: false,
      hasRecoveredPublications: false
    };
    if (result.recovered) {
      ctx.recovered = true;
    }
    if (result.positioned) {
      ctx.positioned = true;
    }
    if (result.recoverable) {
      ctx.recoverable = true;
    }
    if (result.was_recovering) {
      ctx.wasRecovering = true;
    }
    let epoch = "";
    if ("epoch" in result) {
      epoch = result.epoch;
    }
    let offset = 0;
    if ("offset" in result) {
      offset = toOffset(result.offset);
    }
    if (ctx.positioned || ctx.recoverable) {
      ctx.streamPosition = {
        "offset": offset,
        "epoch": epoch
      };
    }
    if (Array.isArray(result.publications) && result.publications.length > 0) {
      ctx.hasRecoveredPublications = true;
    }
    if (result.data) {
      ctx.data = result.data;
    }
    return ctx;
  }
  _handleReply(reply, next) {
    this._resetReconnectAttemptsIfPending();
    const id = reply.id;
    if (!(id in this._callbacks)) {
      next();
      return;
    }
    const callbacks = this._callbacks[id];
    clearTimeout(this._callbacks[id].timeout);
    delete this._callbacks[id];
    if (!errorExists(reply)) {
      const callback = callbacks.callback;
      if (!callback) {
        return;
      }
      callback({ reply, next });
    } else {
      const errback = callbacks.errback;
      if (!errback) {
        next();
        return;
      }
      const error = { code: reply.error.code, message: reply.error.message || "", temporary: reply.error.temporary || false };
      errback({ error, next });
    }
  }
  _handleJoin(channel, join, id) {
    const sub = this._getSubForPush(channel, id);
    if (!sub) {
      if (channel && this._isServerSub(channel)) {
        const ctx = { channel, info: this._getJoinLeaveContext(join.info) };
        this.emit("join", ctx);
      }
      return;
    }
    if (!sub._isSubscribed()) {
      this._debug("join for a subscription that is not subscribed", channel);
      return;
    }
    sub._handleJoin(join);
  }
  _handleLeave(channel, leave, id) {
    const sub = this._getSubForPush(channel, id);
    if (!sub) {
      if (channel && this._isServerSub(channel)) {
        const ctx = { channel, info: this._getJoinLeaveContext(leave.info) };
        this.emit("leave", ctx);
      }
      return;
    }
    if (!sub._isSubscribed()) {
      this._debug("leave for a subscription that is not subscribed", channel);
      return;
    }
    sub._handleLeave(leave);
  }
  _handleUnsubscribe(channel, unsubscribe) {
    const sub = this._getSubForPush(channel, 0);
    if (!sub) {
      if (channel && this._isServerSub(channel)) {
        delete this._serverSubs[channel];
        this.emit("unsubscribed", { channel });
      }
      return;
    }
    if (!sub._isSubscribed()) {
      this._debug("unsubscribe push for a previous subscription", channel);
      return;
    }
    if (unsubscribe.code < 2500) {
      sub._setUnsubscribed(unsubscribe.code, unsubscribe.reason, false);
    } else {
      if (unsubscribe.code === unsubscribedCodes.stateInvalidated) {
        sub._invalidateState();
      }
      sub._setSubscribing(unsubscribe.code, unsubscribe.reason);
    }
  }
  _handleSubscribe(channel, sub) {
    this._serverSubs[channel] = {
      "offset": toOffset(sub.offset),
      "epoch": sub.epoch,
      "recoverable": sub.recoverable || false,
      "subscribed": true
    };
    this.emit("subscribed", this._getSubscribeContext(channel, sub));
  }
  _handleDisconnect(disconnect) {
    this._transportWasOpen = true;
    const code = disconnect.code;
    let reconnect = true;
    if (code >= 3500 && code < 4e3 || code >= 4500 && code < 5e3) {
      reconnect = false;
    }
    this._disconnect(code, disconnect.reason, reconnect);
  }
  _getPublicationContext(channel, pub) {
    const ctx = {
      channel,
      data: pub.data
    };
    if (hasOffset(pub.offset)) {
      ctx.offset = toOffset(pub.offset);
    }
    if (pub.info) {
      ctx.info = this._getJoinLeaveContext(pub.info);
    }
    if (pub.tags) {
      ctx.tags = pub.tags;
    }
    return ctx;
  }
  _getJoinLeaveContext(clientInfo) {
    const info = {
      client: clientInfo.client,
      user: clientInfo.user
    };
    const connInfo = clientInfo["conn_info"];
    if (connInfo) {
      info.connInfo = connInfo;
    }
    const chanInfo = clientInfo["chan_info"];
    if (chanInfo) {
      info.chanInfo = chanInfo;
    }
    return info;
  }
  _handlePublication(channel, pub, id) {
    const sub = this._getSubForPush(channel, id);
    if (!sub) {
      if (channel && this._isServerSub(channel)) {
        const ctx = this._getPublicationContext(channel, pub);
        this._pendingServerSubOffsets[channel] = hasOffset(pub.offset) ? toOffset(pub.offset) : null;
        const failures = this._handlerFailures;
        try {
          this.emit("publication", ctx);
        } finally {
          delete this._pendingServerSubOffsets[channel];
        }
        if (this._handlerFailures !== failures) {
          return;
        }
        if (hasOffset(pub.offset)) {
          this._serverSubs[channel].offset = toOffset(pub.offset);
        }
        if (pub.epoch) {
          this._serverSubs[channel].epoch = pub.epoch;
        }
      }
      return;
    }
    if (!sub._isSubscribed()) {
      this._debug("publication for a subscription that is not subscribed", channel);
      return;
    }
    sub._handlePublication(pub);
  }
  _handleMessage(message) {
    this.emit("message", { data: message.data });
  }
  _handleServerPing(next) {
    this._resetReconnectAttemptsIfPending();
    if (this._sendPong) {
      const cmd = {};
      this._transportSendCommands([cmd]);
    }
    next();
  }
  _handlePush(data, next) {
    const channel = data.channel;
    const id = data.id;
    if (data.pub) {
      this._handlePublication(channel, data.pub, id);
    } else if (data.message) {
      this._handleMessage(data.message);
    } else if (data.join) {
      this._handleJoin(channel, data.join, id);
    } else if (data.leave) {
      this._handleLeave(channel, data.leave, id);
    } else if (data.unsubscribe) {
      this._handleUnsubscribe(channel, data.unsubscribe);
    } else if (data.subscribe) {
      this._handleSubscribe(channel, data.subscribe);
    } else if (data.disconnect) {
      this._handleDisconnect(data.disconnect);
    }
    next();
  }
  _flush() {
    const commands = this._commands.slice(0);
    this._commands = [];
    this._transportSendCommands(commands);
  }
  _createErrorObject(code, message, temporary) {
    const errObject = {
      code,
      message
    };
    if (temporary) {
      errObject.temporary = true;
    }
    return errObject;
  }
  _registerCall(id, callback, errback) {
    this._callbacks[id] = {
      callback,
      errback,
      timeout: null
    };
    const due = Date.now() + this._config.timeout;
    this._callbacks[id].timeout = setTimeout(() => {
      const late = Date.now() - due >= lateCallTimer;
      this._callbacks[id].timeout = setTimeout(() => {
        delete this._callbacks[id];
        if (isFunction(errback)) {
          errback({ error: this._createErrorObject(errorCodes.timeout, "timeout") });
        }
      }, late ? lateCallGrace : 0);
    }, this._config.timeout);
  }
  _addCommand(command) {
    if (this._batching) {
      this._commands.push(command);
    } else {
      this._transportSendCommands([command]);
    }
  }
  _nextPromiseId() {
    return ++this._promiseId;
  }
  _nextTransportId() {
    return ++this._transportId;
  }
  _resolvePromises() {
    for (const id in this._promises) {
      if (!this._promises.hasOwnProperty(id)) {
        continue;
      }
      if (this._promises[id].timeout) {
        clearTimeout(this._promises[id].timeout);
      }
      this._promises[id].resolve();
      delete this._promises[id];
    }
  }
  _rejectPromises(err) {
    for (const id in this._promises) {
      if (!this._promises.hasOwnProperty(id)) {
        continue;
      }
      if (this._promises[id].timeout) {
        clearTimeout(this._promises[id].timeout);
      }
      this._promises[id].reject(err);
      delete this._promises[id];
    }
  }
};
Centrifuge.SubscriptionState = SubscriptionState;
Centrifuge.State = State;
Centrifuge.UnauthorizedError = UnauthorizedError;

// src/wire.ts
var Wire = class extends Centrifuge {
  constructor(url, options, hooks) {
    super(url, options);
    /** By channel: publications up to this offset were missed and brought later. */
    this.recoveredUpTo = {};
    /** By id: subscribe commands of this connection that have no answer yet. */
    this.subscribing = {};
    const codec = this._codec;
    const encode = codec.encodeCommands.bind(codec);
    const decode = codec.decodeReplies.bind(codec);
    codec.encodeCommands = (commands) => {
      commands.forEach((command) => this.look(command, hooks));
      return encode(commands);
    };
    codec.decodeReplies = (data) => {
      const replies = decode(data);
      hooks.heard();
      replies.forEach((reply) => this.note(reply));
      return replies;
    };
  }
  isRecovered(channel, offset) {
    return offset !== void 0 && offset <= (this.recoveredUpTo[channel] || 0);
  }
  look(command, hooks) {
    if (command.subscribe) this.subscribing[command.id] = command.subscribe.channel;
    if (!command.connect) return;
    this.subscribing = {};
    const kept = hooks.since();
    Object.keys(kept).forEach((channel) => {
      const subs = command.connect.subs = command.connect.subs || {};
      if (!subs[channel]) subs[channel] = { recover: true, offset: kept[channel].offset, epoch: kept[channel].epoch };
    });
    hooks.connectSent(command.connect);
  }
  note(reply) {
    if (reply.connect && reply.connect.subs) {
      Object.keys(reply.connect.subs).forEach((channel2) => this.begin(channel2, reply.connect.subs[channel2]));
    }
    const channel = this.subscribing[reply.id];
    if (channel === void 0) return;
    delete this.subscribing[reply.id];
    if (reply.subscribe) this.begin(channel, reply.subscribe);
  }
  begin(channel, result) {
    const missed = result.recovered && result.publications || [];
    this.recoveredUpTo[channel] = missed.length ? missed[missed.length - 1].offset || 0 : 0;
  }
};

// src/connection.ts
var REFUSED_TOKEN = [101, 3500];
var EXPIRED = 109;
var STALE = 3502;
var SIGNED_OUT = 4501;
var TOO_BUSY = 111;
var BLOCKED = 401;
var Connection = class {
  constructor(url, settings, signIn, events2) {
    this.url = url;
    this.settings = settings;
    this.signIn = signIn;
    this.events = events2;
    this.state = "disconnected";
    /** Positions for channels of the gateway's choosing; set by who keeps them. */
    this.since = () => ({});
    this.network = new NetworkTarget();
    this.wanted = false;
    /** Let go because the app is hidden. */
    this.paused = false;
    this.hideTimer = 0;
    this.frames = 0;
    /** The connect of this attempt; null before it, and once its end was told. */
    this.sent = null;
    this.triedAgain = false;
    /** What centrifuge tells again as a text of its own. */
    this.signInFailed = null;
    /** Why the library itself ends the connection. */
    this.ending = null;
    this.last = null;
    this.waiting = [];
    const { wx: wx2, timeout: timeout2, pingDelay, minReconnectDelay, maxReconnectDelay } = settings;
    this.queue = new Queue({ calls: settings.queueLimit, bytes: settings.queueBytes, time: settings.queueTimeout });
    const traffic = (direction, text) => events2.traffic({ direction, text, time: Date.now() });
    this.client = new Wire(
      url,
      {
        websocket: socketClass({ wx: wx2, timeout: timeout2, traffic, unopened: (reason) => this.unopened = reason, abandoned: { count: 0 } }),
        token: signIn.token,
        getToken: () => this.getToken(),
        getData: () => this.getData(),
        name: "wx-gateway",
        version: settings.version || "",
        networkEventTarget: this.network,
        pageEventTarget: new NetworkTarget(),
        timeout: timeout2,
        maxServerPingDelay: pingDelay,
        minReconnectDelay,
        maxReconnectDelay
      },
      {
        connectSent: (connect) => this.connectSent(connect),
        since: () => this.since(),
        heard: () => {
          this.frames++;
        }
      }
    );
    this.listen();
    this.phone = new Phone(wx2, {
      hidden: () => this.hidden(),
      shown: (milliseconds) => this.shown(milliseconds),
      offline: () => this.network.fire("offline"),
      online: () => this.network.fire("online"),
      switched: () => this.renew(),
      doubtful: () => this.probe(),
      closed: () => {
        if (this.state === "connected") this.probe();
      }
    });
  }
  get calls() {
    return this.queue.length;
  }
  // ---------------------------------------------------------------- what the app says
  connect() {
    const blocked = this.signIn.isBlocked();
    if (blocked) return Promise.reject(blocked);
    if (this.state === "connected" && this.last) return Promise.resolve(this.last);
    const promise = new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
    this.wanted = true;
    this.triedAgain = false;
    if (this.phone.isHidden) this.pause();
    else this.client.connect();
    return promise;
  }
  disconnect() {
    this.end(new GatewayError(LocalCode.ENDED, "Ended by the app: call connect() to come back."));
  }
  /** A command, now or when there is a connection. `size`: bytes that it keeps while it waits. */
  call(run, size2 = 0, offline = this.settings.offline) {
    if (this.state === "connected") return this.watched(run);
    if (!this.wanted) {
      return Promise.reject(new GatewayError(LocalCode.OFFLINE, "Not connected: call connect() first.", void 0, false));
    }
    if (offline === "refuse") {
      return Promise.reject(new GatewayError(LocalCode.OFFLINE, "Not connected: try again when the connection is back."));
    }
    return this.queue.add(() => this.watched(run), size2);
  }
  /** A token from elsewhere (HTTP) is there: use it from the next connect on. */
  setToken(token) {
    this.client.setToken(token);
  }
  // ---------------------------------------------------------------- sign-in, as centrifuge asks for it
  getToken() {
    if (this.signIn.isOwn) {
      return this.signIn.ownToken().catch((reason) => {
        throw this.signInFailed = asError(reason);
      });
    }
    const token = () => this.signIn.token;
    return this.signIn.overHttp ? this.signIn.overHttp.then(token, token) : Promise.resolve(token());
  }
  getData() {
    const data = this.settings.data;
    this.client.setToken(this.signIn.token);
    if (this.signIn.isOwn || this.signIn.token) return Promise.resolve(data || null);
    return this.signIn.freshCode().then(
      (code) => {
        const result = __spreadProps(__spreadValues({}, data), { code });
        if (this.settings.appid) result.appid = this.settings.appid;
        return result;
      },
      (reason) => {
        const error = asError(reason);
        this.signInFailed = error;
        if (!error.temporary) this.end(error);
        throw error;
      }
    );
  }
  connectSent(connect) {
    this.sent = connect;
    if (connect.data && connect.data.code) this.signIn.codeSent(connect.data.code);
  }
  // ---------------------------------------------------------------- what centrifuge says
  listen() {
    this.client.on("connecting", (context) => {
      this.setState("connecting");
      this.events.connecting(context);
    });
    this.client.on("connected", (context) => this.connected(context));
    this.client.on("disconnected", (context) => this.disconnected(context));
    this.client.on("error", (context) => this.failed(context));
  }
  connected(context) {
    this.triedAgain = false;
    this.signIn.accepted(context.data);
    if (this.signIn.token) this.client.setToken(this.signIn.token);
    const { openid, unionid } = this.signIn;
    this.last = { client: context.client, openid, unionid, data: context.data };
    this.setState("connected");
    this.events.connected(this.last);
    const waiting = this.waiting;
    this.waiting = [];
    waiting.forEach((each) => each.resolve(this.last));
    this.queue.flush();
  }
  /** An attempt failed, and there will be another: only what the next one has to know. */
  failed(context) {
    const { type, error } = context;
    if (type === "connect") return this.connectFailed(error);
    const own = type === "connectToken" || type === "connectData" ? this.signInFailed : null;
    this.signInFailed = null;
    this.events.error(type === "transport" ? this.unreachable(error.message) : own || asError(error, LocalCode.NETWORK));
  }
  connectFailed(error) {
    const { sent } = this;
    if (!sent) return;
    this.sent = null;
    if (error.code < 100) return this.events.error(this.unreachable(error.message));
    if (error.code === TOO_BUSY && !sent.token) this.signIn.codeUnspent();
    if (error.code === EXPIRED) this.refused(sent);
    this.events.error(asError(error));
    if (error.code !== EXPIRED || this.triedAgain || this.client.state !== "connecting") return;
    this.triedAgain = true;
    this.renew();
  }
  /** Nothing of the app's was sent. */
  unreachable(otherwise) {
    const reason = this.unopened;
    this.unopened = null;
    const said2 = reason && (reason.errMsg || reason.message) || otherwise;
    const text = "Cannot reach " + this.url + ": " + said2 + ". Is the gateway running, and the domain on the list?";
    return new GatewayError(LocalCode.NETWORK, text, reason);
  }
  refused(sent) {
    if (sent.token) this.signIn.refused(sent.token);
    else this.signIn.codeRefused();
  }
  /** centrifuge will not come back by itself. */
  disconnected(context) {
    if (this.paused) return this.setState("background");
    if (this.ending) return this.final(this.ending);
    const { sent } = this;
    this.sent = null;
    if (sent && REFUSED_TOKEN.indexOf(context.code) >= 0 && !this.triedAgain) {
      this.triedAgain = true;
      this.refused(sent);
      this.client.setToken("");
      return this.client.connect();
    }
    if (context.code === STALE) return this.client.connect();
    const error = new GatewayError(context.code, context.reason);
    if (context.code === BLOCKED) this.signIn.block(error);
    if (context.code === SIGNED_OUT) this.signIn.forget();
    this.final(error);
  }
  end(error) {
    this.ending = error;
    this.paused = false;
    clearTimeout(this.hideTimer);
    if (this.client.state === "disconnected") this.final(error);
    else this.client.disconnect();
  }
  final(error) {
    this.ending = null;
    const there = this.wanted;
    this.wanted = false;
    this.setState("disconnected");
    this.events.save();
    this.queue.fail(error);
    const waiting = this.waiting;
    this.waiting = [];
    waiting.forEach((each) => each.reject(error));
    if (there) this.events.disconnected(error);
  }
  setState(state) {
    const previous = this.state;
    if (state === previous) return;
    this.state = state;
    this.events.state(state, previous);
  }
  // ---------------------------------------------------------------- what the phone does
  hidden() {
    this.events.save();
    if (!this.wanted) return;
    if (this.settings.reportVisibility && this.state === "connected") this.report("gateway.hide");
    this.hideTimer = setTimeout(() => this.pause(), this.settings.hideDelay);
  }
  /** Let go cleanly, before WeChat cuts the socket without a word. */
  pause() {
    if (this.paused || !this.wanted) return;
    this.paused = true;
    this.events.save();
    this.client.disconnect();
    this.setState("background");
  }
  shown(milliseconds) {
    clearTimeout(this.hideTimer);
    if (!this.wanted) return;
    if (this.paused) {
      this.paused = false;
      this.client.connect();
    } else if (milliseconds > this.settings.hideDelay) {
      this.renew();
    } else {
      this.probe();
    }
  }
  /** Drop the socket, and open another at once. */
  renew() {
    this.network.fire("offline");
    this.network.fire("online");
  }
  /** Does the connection live? Anything that comes says yes, also an error. */
  probe() {
    if (this.state !== "connected") return this.network.fire("online");
    const { last, frames } = this;
    this.report("gateway.show");
    setTimeout(() => {
      if (this.state === "connected" && this.last === last && this.frames === frames) this.renew();
    }, this.settings.probeTimeout);
  }
  report(method) {
    this.client.rpc(method, {}).then(void 0, () => void 0);
  }
  /** A call that times out while nothing at all came is the sign of a socket that is half open. */
  watched(run) {
    const { last, frames } = this;
    return run().then(void 0, (reason) => {
      const error = asError(reason);
      if (error.code === LocalCode.TIMEOUT && this.last === last && this.frames === frames) this.renew();
      throw error;
    });
  }
};
var NetworkTarget = class {
  constructor() {
    this.listeners = [];
  }
  addEventListener(event, listener) {
    this.listeners.push({ event, listener });
  }
  removeEventListener(event, listener) {
    this.listeners = this.listeners.filter((each) => each.event !== event || each.listener !== listener);
  }
  fire(event) {
    this.listeners.slice().forEach((each) => {
      if (each.event === event) each.listener();
    });
  }
};

// src/emitter.ts
var Emitter = class {
  constructor(failed) {
    this.failed = failed;
    this.listeners = {};
  }
  on(event, listener) {
    (this.listeners[event] = this.listeners[event] || []).push(listener);
  }
  off(event, listener) {
    const there = this.listeners[event] || [];
    this.listeners[event] = listener ? there.filter((each) => each !== listener) : [];
  }
  has(event) {
    return Boolean(this.listeners[event] && this.listeners[event].length);
  }
  emit(event, argument) {
    const there = this.listeners[event];
    if (!there) return;
    there.slice().forEach((listener) => {
      try {
        listener(argument);
      } catch (reason) {
        this.failed(event, reason);
      }
    });
  }
};

// src/http.ts
var AT_ONCE = 6;
var FIRST_DELAY = 500;
var LONGEST_DELAY = 1e4;
var Http = class {
  constructor(options, identity) {
    this.options = options;
    this.identity = identity;
    this.running = 0;
    this.waiting = [];
  }
  /** With its host. */
  absolute(path) {
    return /^https?:\/\//.test(path) ? path : this.options.url + path;
  }
  /** Whether a url is the gateway's: nobody else gets the token. */
  isOurs(url) {
    return url === this.options.url || url.indexOf(this.options.url + "/") === 0;
  }
  /** A JSON request with the token. */
  ask(method, path, body, more) {
    return this.withToken(
      (token) => this.once(method, path, body, __spreadProps(__spreadValues({}, more && more.header), { Authorization: "Bearer " + token })),
      more && more.again
    );
  }
  /** A request as it is, once. Rejected for every status from 400 on. */
  once(method, path, body, header) {
    const { wx: wx2 } = this.options;
    return this.slot(
      () => new Promise((resolve, reject) => {
        if (!wx2.request) return reject(unsupported("wx.request"));
        wx2.request({
          url: this.absolute(path),
          method,
          data: body,
          header: header || {},
          success: (result) => {
            const answer = { status: result.statusCode, body: parsed(result.data), header: lower(result.header) };
            if (answer.status >= 400) reject(refused(answer.status, answer.body));
            else resolve(answer);
          },
          fail: (reason) => reject(unreachable(reason))
        });
      })
    );
  }
  /** `attempt` with a token, again with a new one where that was refused, and later where it helps. */
  withToken(attempt, again = worthAnother) {
    const { attempts, visible } = this.options;
    let renewed = false;
    const go = (tried) => visible().then(() => this.identity().token()).then(
      (token) => attempt(token).catch((reason) => {
        const error = asError(reason);
        if ((error.code === 109 || error.code === 101) && !renewed) {
          renewed = true;
          this.identity().refused(token);
          return go(tried);
        }
        if (tried >= attempts || !again(error)) throw error;
        return pause(jitter(tried)).then(() => go(tried + 1));
      })
    );
    return go(1);
  }
  /** Run `job` when a place is free. */
  slot(job) {
    return new Promise((resolve, reject) => {
      const start = () => {
        this.running++;
        const done = () => {
          this.running--;
          const next = this.waiting.shift();
          if (next) next();
        };
        job().then(
          (result) => {
            done();
            resolve(result);
          },
          (reason) => {
            done();
            reject(reason);
          }
        );
      };
      if (this.running < AT_ONCE) start();
      else this.waiting.push(start);
    });
  }
};
var CODE_OF_STATUS = { 401: 109, 403: 103, 404: 422, 413: 420, 415: 421 };
function worthAnother(error) {
  return error.temporary && error.code !== LocalCode.OFFLINE && error.code !== LocalCode.LOGIN;
}
function unreachable(reason) {
  const said2 = reason && reason.errMsg || String(reason);
  if (/domain list|url not in/.test(said2)) {
    return new GatewayError(
      LocalCode.NETWORK,
      'The domain is not on the list of the mini-program: add it under request, uploadFile and downloadFile in the console, or tick "do not verify domains" in the developer tools (' + said2 + ").",
      reason,
      false
    );
  }
  if (/abort/.test(said2)) return new GatewayError(LocalCode.ENDED, "Ended by the app.", reason, false);
  return new GatewayError(LocalCode.NETWORK, "The gateway could not be reached: look at the network (" + said2 + ").", reason);
}
function refused(status, body) {
  if (body && typeof body.code === "number") {
    return new GatewayError(body.code, String(body.message || "refused"), body, status === 503 || void 0);
  }
  const known = CODE_OF_STATUS[status];
  if (known) return new GatewayError(known, "HTTP " + status, body);
  const temporary = status >= 500 || status === 429 || status === 408;
  return new GatewayError(temporary ? 100 : 107, "HTTP " + status, body, temporary);
}
function unsupported(what) {
  return new GatewayError(LocalCode.UNSUPPORTED, "This platform has no " + what + ".", void 0, false);
}
function parsed(data) {
  if (typeof data !== "string") return data;
  try {
    return JSON.parse(data);
  } catch (notJson) {
    return data;
  }
}
function lower(header) {
  const result = {};
  Object.keys(header || {}).forEach((name) => {
    result[name.toLowerCase()] = String(header[name]);
  });
  return result;
}
function jitter(tried) {
  return Math.random() * Math.min(LONGEST_DELAY, FIRST_DELAY * Math.pow(2, tried));
}
function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

// src/opendata.ts
var STALE2 = 405;
var OpenData = class {
  constructor(http, wx2, renew) {
    this.http = http;
    this.wx = wx2;
    this.renew = renew;
  }
  /** On a stale key the gateway gets the present one, so that what is fetched after this fits. */
  decrypt(data) {
    const { rawData, signature, encryptedData, iv } = data;
    return this.post("/wx/userinfo", { rawData, signature, encryptedData, iv }).catch((error) => {
      if (error.code !== STALE2) throw error;
      return this.renew().then(() => {
        throw error;
      });
    });
  }
  /** The session is looked at first; data that is stale all the same is fetched once more, and only once. */
  openData(fetch = () => this.getUserInfo()) {
    const go = () => fetch().then((data) => this.decrypt(data));
    return this.checkSession().then(go).catch((error) => {
      if (error.code !== STALE2) throw error;
      return go();
    });
  }
  phone(given) {
    const detail = given.detail || given;
    if (!detail.code) {
      const said2 = given.detail && given.detail.errMsg || "no code";
      return Promise.reject(new GatewayError(LocalCode.REFUSED, "The user did not give a number (" + said2 + ").", given, false));
    }
    return this.post("/wx/phone", { code: detail.code });
  }
  ask(templateIds) {
    const { wx: wx2 } = this;
    return new Promise((resolve, reject) => {
      if (!wx2.requestSubscribeMessage) return reject(unsupported("wx.requestSubscribeMessage"));
      wx2.requestSubscribeMessage({
        tmplIds: templateIds,
        success: (result) => {
          const granted = {};
          templateIds.forEach((id) => {
            if (result[id]) granted[id] = result[id];
          });
          resolve(granted);
        },
        fail: (reason) => reject(notAsked(reason))
      });
    });
  }
  post(path, body) {
    return this.http.ask("POST", path, body).then((answer) => answer.body);
  }
  /** Resolved once phone and gateway have the same key, as far as the phone knows. */
  checkSession() {
    const { wx: wx2 } = this;
    if (!wx2.checkSession) return Promise.resolve();
    return new Promise((resolve) => {
      wx2.checkSession({ success: () => resolve(true), fail: () => resolve(false) });
    }).then((good) => good ? void 0 : this.renew());
  }
  getUserInfo() {
    const { wx: wx2 } = this;
    return new Promise((resolve, reject) => {
      if (!wx2.getUserInfo) return reject(unsupported("wx.getUserInfo"));
      wx2.getUserInfo({
        withCredentials: true,
        success: resolve,
        fail: (reason) => reject(new GatewayError(LocalCode.REFUSED, "The user, or WeChat, said no (" + said(reason) + ").", reason, false))
      });
    });
  }
};
function notAsked(reason) {
  const text = reason && reason.errCode === 20004 ? "The user has switched messages off: show how to switch them on in the settings" : "WeChat did not ask: call requestSubscribeMessage from a tap, with at most 3 templates of this mini-program";
  return new GatewayError(LocalCode.REFUSED, text + " (" + said(reason) + ").", reason, false);
}
function said(reason) {
  return reason && reason.errMsg || String(reason);
}

// src/signin.ts
var CODE_LIFETIME = 4 * 60 * 1e3;
var BLOCKED_FOR = 10 * 60 * 1e3;
var MAX_REFUSED_CODES = 5;
var SignIn = class {
  constructor(options, storage) {
    this.options = options;
    this.storage = storage;
    /** A sign-in by HTTP on its way: the socket waits for its token instead of sending the same code. */
    this.overHttp = null;
    this.code = null;
    this.sentCode = null;
    this.login = null;
    this.refusedCodes = 0;
    this.blocked = null;
    const kept = options.getToken ? null : storage.get("session");
    this.current = kept && kept.token || "";
    this.openid = kept && kept.openid;
    this.unionid = kept && kept.unionid;
  }
  /** '' where there is none. */
  get token() {
    return this.current;
  }
  /** The token of the team's own backend, where that signs in. */
  ownToken() {
    const getToken = this.options.getToken;
    if (!getToken) return Promise.resolve(this.current);
    return Promise.resolve().then(getToken).then(
      (token) => this.current = token || "",
      (reason) => {
        throw new GatewayError(LocalCode.LOGIN, "getToken failed: " + asError(reason).message, reason);
      }
    );
  }
  get isOwn() {
    return Boolean(this.options.getToken);
  }
  /** A code that has not been sent; raises the reason where another would change nothing. */
  freshCode() {
    const blocked = this.isBlocked();
    if (blocked) return Promise.reject(blocked);
    if (this.refusedCodes >= MAX_REFUSED_CODES) {
      this.refusedCodes = 0;
      return Promise.reject(
        new GatewayError(403, "WeChat refuses the codes of this mini-program: its appid is not the one of the gateway. Give createGateway the appid, and the gateway its secret.", void 0, false)
      );
    }
    if (this.code && Date.now() - this.code.at < CODE_LIFETIME) return Promise.resolve(this.code.value);
    this.login = this.login || this.wxLogin();
    return this.login;
  }
  wxLogin() {
    const { wx: wx2 } = this.options;
    const login = new Promise((resolve, reject) => {
      if (!wx2.login) return reject(unsupported("wx.login: give createGateway a getToken"));
      wx2.login({
        success: (result) => {
          if (!result.code) return reject(loginFailed(result));
          this.code = { value: result.code, at: Date.now() };
          resolve(result.code);
        },
        fail: (reason) => reject(loginFailed(reason))
      });
    });
    const done = () => {
      this.login = null;
    };
    login.then(done, done);
    return login;
  }
  /** It has left the phone: it can be used by nobody else now. */
  codeSent(code) {
    if (!this.code || this.code.value !== code) return;
    this.sentCode = this.code;
    this.code = null;
  }
  /** The gateway was too busy to look at the one that was sent: it is good for another attempt. */
  codeUnspent() {
    this.code = this.code || this.sentCode;
    this.sentCode = null;
  }
  /** A code was exchanged, or a token accepted. */
  accepted(data) {
    this.refusedCodes = 0;
    this.blocked = null;
    if (!data) return;
    this.openid = data.openid || this.openid;
    this.unionid = data.unionid || this.unionid;
    if (data.token && !this.isOwn) {
      this.current = data.token;
      this.storage.set("session", { token: data.token, openid: this.openid, unionid: this.unionid });
    }
  }
  /** Not good any more. An answer to an older token than the present one changes nothing. */
  refused(token) {
    if (token && token !== this.current) return;
    this.forget();
  }
  /** The code was used before, is too old, or of another mini-program. */
  codeRefused() {
    this.refusedCodes++;
  }
  /** WeChat refuses this user. */
  block(error) {
    this.blocked = { error, until: Date.now() + BLOCKED_FOR };
  }
  isBlocked() {
    return this.blocked && this.blocked.until > Date.now() && !this.current ? this.blocked.error : null;
  }
  forget() {
    this.current = "";
    this.storage.remove("session");
  }
  /** Another user may sign in next. */
  forgetUser() {
    this.forget();
    this.openid = this.unionid = void 0;
    this.blocked = null;
    this.code = null;
  }
};
function loginFailed(reason) {
  const said2 = reason && reason.errMsg || "no code";
  return new GatewayError(LocalCode.LOGIN, "wx.login failed, look at the network (" + said2 + ").", reason);
}

// src/storage.ts
var Storage = class {
  constructor(wx2, prefix, failed) {
    this.wx = wx2;
    this.prefix = prefix;
    this.failed = failed;
    this.memory = {};
  }
  get(name) {
    if (name in this.memory) return this.memory[name];
    let value;
    try {
      value = this.wx.getStorageSync ? this.wx.getStorageSync(this.key(name)) : void 0;
    } catch (reason) {
      this.failed(reason);
    }
    return value === "" || value === null ? void 0 : value;
  }
  set(name, value) {
    try {
      if (this.wx.setStorageSync) {
        this.wx.setStorageSync(this.key(name), value);
        delete this.memory[name];
        return;
      }
    } catch (reason) {
      this.failed(reason);
    }
    this.memory[name] = value;
  }
  remove(name) {
    delete this.memory[name];
    try {
      if (this.wx.removeStorageSync) this.wx.removeStorageSync(this.key(name));
    } catch (reason) {
      this.failed(reason);
    }
  }
  key(name) {
    return this.prefix + "." + name;
  }
};

// src/pieces.ts
var WRONG_OFFSET = 425;
var BUSY = 427;
var GONE = 422;
var VERSION = { "Tus-Resumable": "1.0.0" };
var Pieces = class {
  constructor(http, wx2, storage, pieceSize) {
    this.http = http;
    this.wx = wx2;
    this.storage = storage;
    this.pieceSize = pieceSize;
  }
  upload(options, fields2, size2, abortable) {
    const name = "upload." + options.filePath + "." + size2;
    const kept = this.storage.get(name);
    const begun = kept ? this.offset(kept).then(
      (offset) => ({ url: kept, offset }),
      (error) => {
        if (error.code !== GONE) throw error;
        return this.create(fields2, size2);
      }
    ) : this.create(fields2, size2);
    return begun.then(({ url, offset }) => {
      this.storage.set(name, url);
      const forget = () => this.storage.remove(name);
      return this.goOn(url, offset, size2, options, abortable).then(
        () => {
          forget();
          return this.http.ask("GET", "/files/" + url.slice(url.lastIndexOf("/") + 1) + "/info").then((answer) => answer.body);
        },
        (error) => {
          if (!error.temporary && error.code !== LocalCode.ENDED) forget();
          throw error;
        }
      );
    });
  }
  create(fields2, size2) {
    const metadata = Object.keys(fields2).map((name) => (name === "name" ? "filename" : name) + " " + base64(fields2[name]));
    const header = __spreadProps(__spreadValues({}, VERSION), { "Upload-Length": String(size2) });
    if (metadata.length) header["Upload-Metadata"] = metadata.join(",");
    return this.http.ask("POST", "/files/resumable", void 0, { header }).then((answer) => ({ url: answer.header.location, offset: 0 }));
  }
  offset(url) {
    return this.http.ask("POST", url, void 0, { header: __spreadProps(__spreadValues({}, VERSION), { "X-HTTP-Method-Override": "HEAD" }) }).then((answer) => Number(answer.header["upload-offset"]));
  }
  goOn(url, offset, size2, options, abortable) {
    abortable.check();
    if (options.onProgress) options.onProgress({ progress: Math.floor(100 * offset / size2), sent: offset, total: size2 });
    if (offset >= size2) return Promise.resolve();
    return this.read(options.filePath, offset, Math.min(this.pieceSize, size2 - offset)).then((data) => this.send(url, offset, data)).then((next) => this.goOn(url, next, size2, options, abortable));
  }
  /** Where the next piece begins. After a failure the gateway is asked: the piece may have come in part. */
  send(url, offset, data) {
    const header = __spreadProps(__spreadValues({}, VERSION), {
      "X-HTTP-Method-Override": "PATCH",
      "Content-Type": "application/offset+octet-stream",
      "Upload-Offset": String(offset)
    });
    const lost2 = (error) => error.code === LocalCode.NETWORK || error.code === WRONG_OFFSET || error.code === BUSY;
    return this.http.ask("POST", url, data, { header, again: (error) => worthAnother(error) && !lost2(error) }).then((answer) => Number(answer.header["upload-offset"])).catch((error) => {
      if (!lost2(error)) throw error;
      return this.offset(url).then((there) => {
        if (there === offset && error.code === WRONG_OFFSET) throw error;
        return there;
      });
    });
  }
  read(filePath, position, length) {
    return new Promise((resolve, reject) => {
      this.wx.getFileSystemManager().readFile({
        filePath,
        position,
        length,
        success: (result) => resolve(result.data),
        fail: (reason) => reject(new GatewayError(107, "the file cannot be read: it has to be there until the upload has ended", reason, false))
      });
    });
  }
};
function fileSystem(wx2, method) {
  const files = wx2.getFileSystemManager && wx2.getFileSystemManager();
  return files && typeof files[method] === "function" ? files : null;
}
function fileSize(wx2, filePath) {
  return new Promise((resolve, reject) => {
    const files = fileSystem(wx2, "getFileInfo");
    if (!files) return resolve(0);
    files.getFileInfo({
      filePath,
      success: (result) => resolve(result.size),
      fail: (reason) => reject(new GatewayError(107, "there is no such file: " + filePath, reason, false))
    });
  });
}
var ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
function base64(text) {
  const bytes = encodeURIComponent(text).replace(/%([0-9A-F]{2})/g, (_, code) => String.fromCharCode(parseInt(code, 16)));
  let result = "";
  for (let at = 0; at < bytes.length; at += 3) {
    const [one, two, three] = [bytes.charCodeAt(at), bytes.charCodeAt(at + 1), bytes.charCodeAt(at + 2)];
    result += ALPHABET[one >> 2] + ALPHABET[(one & 3) << 4 | two >> 4];
    result += at + 1 < bytes.length ? ALPHABET[(two & 15) << 2 | three >> 6] : "=";
    result += at + 2 < bytes.length ? ALPHABET[three & 63] : "=";
  }
  return result;
}

// src/transfers.ts
var Abortable = class {
  constructor() {
    this.aborted = false;
    this.task = null;
  }
  /** The task of wx that runs now. */
  run(task) {
    this.task = task;
    if (this.aborted) this.stop();
  }
  abort() {
    this.aborted = true;
    this.stop();
  }
  check() {
    if (this.aborted) throw new GatewayError(LocalCode.ENDED, "Ended by the app.", void 0, false);
  }
  stop() {
    if (this.task && typeof this.task.abort === "function") this.task.abort();
  }
};
var Transfers = class {
  constructor(http, options, storage) {
    this.http = http;
    this.options = options;
    this.pieces = new Pieces(http, options.wx, storage, options.pieceSize);
  }
  upload(options) {
    const abortable = new Abortable();
    const done = this.size(options.filePath).then((size2) => {
      abortable.check();
      const inPieces = size2 > this.options.resumableFrom && fileSystem(this.options.wx, "readFile") !== null;
      return inPieces ? this.pieces.upload(options, fields(options), size2, abortable) : this.whole(options, abortable);
    });
    return transfer(done.then((file) => this.located(file)), abortable, options);
  }
  download(options) {
    const abortable = new Abortable();
    return transfer(this.fetch(options, abortable), abortable, options);
  }
  link(id, expiresIn) {
    const body = expiresIn === void 0 ? {} : { expires_in: expiresIn };
    return this.http.ask("POST", "/files/" + encodeURIComponent(id) + "/link", body).then((answer) => this.http.absolute(answer.body.url));
  }
  located(file) {
    return __spreadProps(__spreadValues({}, file), { url: this.http.absolute(file.url) });
  }
  /** 0 where the platform does not tell: then it goes in one request. */
  size(filePath) {
    return fileSize(this.options.wx, filePath);
  }
  // ---------------------------------------------------------------- up
  whole(options, abortable) {
    let everythingLeft = false;
    const attempt = (token) => {
      abortable.check();
      everythingLeft = false;
      return this.http.slot(
        () => this.send(options, token, abortable, (progress) => {
          everythingLeft = progress.total > 0 && progress.sent >= progress.total;
          if (options.onProgress) options.onProgress(progress);
        })
      );
    };
    const again = (error) => worthAnother(error) && !(error.code === LocalCode.NETWORK && everythingLeft && options.channel);
    return this.http.withToken(attempt, again);
  }
  send(options, token, abortable, progress) {
    const { wx: wx2 } = this.options;
    return new Promise((resolve, reject) => {
      if (!wx2.uploadFile) return reject(unsupported("wx.uploadFile"));
      const task = wx2.uploadFile({
        url: this.http.absolute("/files"),
        filePath: options.filePath,
        name: "file",
        header: { Authorization: "Bearer " + token },
        formData: fields(options),
        success: (result) => {
          const body = parsed(result.data);
          if (result.statusCode === 200) resolve(body);
          else reject(refused(result.statusCode, body));
        },
        fail: (reason) => reject(unreachable(reason))
      });
      abortable.run(task);
      if (task && typeof task.onProgressUpdate === "function") {
        task.onProgressUpdate(
          (event) => progress({ progress: event.progress, sent: event.totalBytesSent, total: event.totalBytesExpectedToSend })
        );
      }
    });
  }
  // ---------------------------------------------------------------- down
  fetch(options, abortable) {
    const path = options.url || "/files/" + encodeURIComponent(options.id || "");
    if (!options.url && !options.id) {
      return Promise.reject(new GatewayError(107, "download needs an id or a url", void 0, false));
    }
    const absolute = this.http.absolute(path);
    const url = options.width ? absolute + (absolute.indexOf("?") < 0 ? "?" : "&") + "w=" + options.width : absolute;
    const get = (token) => {
      abortable.check();
      return this.http.slot(() => this.get(url, token, options, abortable));
    };
    return this.http.isOurs(url) ? this.http.withToken(get) : get("");
  }
  get(url, token, options, abortable) {
    const { wx: wx2 } = this.options;
    return new Promise((resolve, reject) => {
      if (!wx2.downloadFile) return reject(unsupported("wx.downloadFile"));
      const request = {
        url,
        // Not Authorization: a redirect to an S3 store carries the headers along, and the store refuses that one.
        header: token ? { "X-WX-Token": token } : {},
        success: (result) => {
          if (result.statusCode === 200 || result.statusCode === 206) {
            const tempFilePath = result.tempFilePath || result.filePath || options.filePath;
            resolve({ tempFilePath, filePath: result.filePath, statusCode: result.statusCode });
          } else {
            this.read(result.tempFilePath || result.filePath).then((body) => reject(refused(result.statusCode, body)));
          }
        },
        fail: (reason) => reject(unreachable(reason))
      };
      if (options.filePath) request.filePath = options.filePath;
      const task = wx2.downloadFile(request);
      abortable.run(task);
      if (options.onProgress && task && typeof task.onProgressUpdate === "function") {
        const { onProgress } = options;
        task.onProgressUpdate(
          (event) => onProgress({ progress: event.progress, sent: event.totalBytesWritten, total: event.totalBytesExpectedToWrite })
        );
      }
    });
  }
  /** The error that was written into the file, where that can be read. */
  read(path) {
    return new Promise((resolve) => {
      const files = fileSystem(this.options.wx, "readFile");
      if (!path || !files) return resolve(null);
      files.readFile({
        filePath: path,
        encoding: "utf8",
        success: (result) => resolve(parsed(result.data)),
        fail: () => resolve(null)
      });
    });
  }
};
function fields(options) {
  const result = __spreadValues({}, options.formData);
  const visibility = options.visibility || (options.channel ? "channel" : void 0);
  if (options.channel) result.channel = options.channel;
  if (visibility) result.visibility = visibility;
  if (options.name) result.name = options.name;
  if (options.expiresIn !== void 0) result.expires_in = String(options.expiresIn);
  return result;
}
function transfer(done, abortable, callbacks) {
  const promise = done.then(void 0, (reason) => {
    throw asError(reason);
  });
  const result = tell(promise, callbacks);
  result.abort = () => abortable.abort();
  return result;
}

// src/gateway.ts
var MB = 1024 * 1024;
var PATH = "/connection/websocket";
function size(data) {
  return (JSON.stringify(data) || "").length;
}
var GatewayClient = class {
  constructor(options) {
    this.options = options;
    this.emitter = new Emitter((event, reason) => this.threw(event, reason));
    const platform = options.wx || (typeof wx === "undefined" ? void 0 : wx);
    if (!platform || typeof platform.connectSocket !== "function") {
      throw new GatewayError(LocalCode.UNSUPPORTED, "There is no wx here: give createGateway one, as { wx: Taro } or { wx: uni }.");
    }
    const url = socketUrl(options.url);
    const prefix = options.storageKey || "wx-gateway";
    const storage = new Storage(platform, prefix, (reason) => this.failed(asError(reason, LocalCode.UNSUPPORTED, "Storage failed")));
    this.signIn = new SignIn({ wx: platform, appid: options.appid, getToken: options.getToken }, storage);
    this.connection = new Connection(url, __spreadProps(__spreadValues({}, defaults2(options)), { wx: platform }), this.signIn, {
      state: (state, previous) => this.emitter.emit("state", { state, previous }),
      connecting: (context) => this.emitter.emit("connecting", context),
      connected: (context) => {
        this.acknowledgements.connected();
        this.emitter.emit("connected", context);
      },
      disconnected: (error) => this.emitter.emit("disconnected", error),
      error: (error) => this.failed(error),
      traffic: (traffic) => {
        if (options.onTraffic) options.onTraffic(traffic);
        this.emitter.emit("traffic", traffic);
      },
      save: () => this.channels.save()
    });
    this.acknowledgements = new Acknowledgements(() => this.connection, Boolean(options.acknowledge));
    this.channels = new Channels(
      this.connection,
      storage,
      this.emitter,
      this.acknowledgements,
      this,
      () => this.openid,
      (error) => this.failed(error)
    );
    this.http = new Http(
      { wx: platform, url: httpUrl(options.httpUrl, url), attempts: options.attempts || 4, visible: () => this.connection.phone.visible() },
      () => ({ token: () => this.token(), refused: (token) => this.signIn.refused(token) })
    );
    this.transfers = new Transfers(
      this.http,
      { wx: platform, resumableFrom: options.resumableFrom || 10 * MB, pieceSize: options.pieceSize || MB },
      storage
    );
    this.open = new OpenData(this.http, platform, () => this.signInAnew());
  }
  get state() {
    return this.connection.state;
  }
  get openid() {
    return this.signIn.openid;
  }
  get waiting() {
    return this.connection.calls;
  }
  // ---------------------------------------------------------------- the connection
  connect(callbacks) {
    const connected = this.connection.connect();
    connected.then(void 0, () => void 0);
    return tell(connected, callbacks);
  }
  disconnect() {
    this.connection.disconnect();
  }
  on(event, listener) {
    this.emitter.on(event, listener);
  }
  off(event, listener) {
    this.emitter.off(event, listener);
  }
  // ---------------------------------------------------------------- channels
  subscribe(channel, handlers, options) {
    return this.channels.subscribe(channel, handlers, options);
  }
  personal(handlers, options) {
    return this.channels.personal(handlers, options);
  }
  publish(first, data, options) {
    const given = typeof first === "string" ? __spreadValues({ channel: first, data }, options) : first;
    const run = () => this.connection.client.publish(given.channel, given.data).then(() => void 0);
    return tell(this.connection.call(run, size(given.data), given.offline), callbacksOf(first));
  }
  rpc(first, data, options) {
    const given = typeof first === "string" ? __spreadValues({ method: first, data }, options) : first;
    const body = given.data === void 0 ? null : given.data;
    const run = () => this.connection.client.rpc(given.method, body).then((result) => result.data);
    return tell(this.connection.call(run, size(body), given.offline), callbacksOf(first));
  }
  presence(first) {
    const channel = typeof first === "string" ? first : first.channel;
    const run = () => this.connection.client.presence(channel).then((result) => result.clients);
    return tell(this.connection.call(run), callbacksOf(first));
  }
  presenceStats(channel) {
    return this.connection.call(() => this.connection.client.presenceStats(channel));
  }
  history(first, options) {
    const given = typeof first === "string" ? __spreadValues({ channel: first }, options) : first;
    const { channel, limit, since, reverse } = given;
    const wanted = { limit: limit === void 0 ? 100 : limit };
    if (since) wanted.since = since;
    if (reverse) wanted.reverse = true;
    const run = () => this.connection.client.history(channel, wanted).then(({ offset, epoch, publications }) => ({
      offset,
      epoch,
      publications: publications.map((each) => __spreadProps(__spreadValues({}, each), { channel, epoch, recovered: false }))
    }));
    return tell(this.connection.call(run), callbacksOf(first));
  }
  // ---------------------------------------------------------------- files
  upload(options) {
    return this.transfers.upload(options);
  }
  download(options) {
    return this.transfers.download(options);
  }
  link(id, expiresIn) {
    return this.transfers.link(id, expiresIn);
  }
  // ---------------------------------------------------------------- open data
  decrypt(options) {
    return tell(this.open.decrypt(options), options);
  }
  openData(fetch) {
    return this.open.openData(fetch);
  }
  getPhoneNumber(options) {
    return tell(this.open.phone(options), options);
  }
  requestSubscribeMessage(first) {
    const ids = Array.isArray(first) ? first : first.tmplIds;
    const asked = this.open.ask(ids).then((granted) => {
      const templates = {};
      Object.keys(granted).forEach((id) => {
        templates[id] = granted[id] === "filter" ? "reject" : granted[id];
      });
      this.rpc("gateway.granted", { templates }).then(void 0, () => void 0);
      return granted;
    });
    return tell(asked, Array.isArray(first) ? void 0 : first);
  }
  // ---------------------------------------------------------------- sign-in
  token() {
    if (this.signIn.token) return Promise.resolve(this.signIn.token);
    if (this.signIn.isOwn) return this.signIn.ownToken();
    return this.signInAnew();
  }
  signOut(callbacks) {
    const token = this.signIn.token;
    const forget = () => {
      this.signIn.forgetUser();
      this.connection.setToken("");
      this.connection.disconnect();
      this.channels.forgetUser();
    };
    const told = token && !this.signIn.isOwn ? this.http.once("POST", "/wx/logout", {}, { Authorization: "Bearer " + token }).then(void 0, (error) => {
      if (error.code !== 109 && error.code !== 101) throw error;
    }) : Promise.resolve();
    const done = told.then(
      () => forget(),
      (error) => {
        forget();
        throw error;
      }
    );
    return tell(done, callbacks);
  }
  /** With a new code, by the socket where that is at it already. */
  signInAnew() {
    const bySocket = this.state === "connecting" && !this.signIn.token && !this.signIn.overHttp;
    return bySocket ? this.tokenOfSocket() : this.signInOverHttp();
  }
  /** The socket is signing in: its token is everybody's. Where it does not come, HTTP asks for one. */
  tokenOfSocket() {
    return new Promise((resolve) => {
      const look = () => {
        if (this.state === "connecting" && !this.signIn.token) return;
        clearTimeout(timer);
        this.off("state", look);
        resolve(this.signIn.token);
      };
      const timer = setTimeout(() => {
        this.off("state", look);
        resolve("");
      }, 2 * (this.options.timeout || 5e3));
      this.on("state", look);
    }).then((token) => token || this.signInOverHttp());
  }
  /** Also where there is a token: its session key may be stale. One at a time. */
  signInOverHttp() {
    const under = this.signIn.overHttp;
    if (under) return under;
    const signingIn = this.signIn.freshCode().then((code) => {
      this.signIn.codeSent(code);
      const body = { code };
      if (this.options.appid) body.appid = this.options.appid;
      return this.http.once("POST", "/wx/login", body);
    }).then(
      (answer) => {
        this.signIn.accepted(answer.body);
        this.connection.setToken(answer.body.token);
        return answer.body.token;
      },
      (reason) => {
        const error = asError(reason);
        if (error.code === 109) this.signIn.codeRefused();
        if (error.code === 401) this.signIn.block(error);
        throw error;
      }
    );
    this.signIn.overHttp = signingIn;
    const done = () => {
      this.signIn.overHttp = null;
    };
    signingIn.then(done, done);
    return signingIn;
  }
  // ---------------------------------------------------------------- what went wrong
  failed(error) {
    this.emitter.emit("error", error);
  }
  /** A listener of the app. One of `error` has nobody to be told to but the console. */
  threw(event, reason) {
    const said2 = reason && reason.message || String(reason);
    if (event !== "error") this.failed(new GatewayError(LocalCode.HANDLER, "A listener of the app threw: " + said2, reason, false));
    else if (typeof console !== "undefined") console.warn('wx-gateway: a listener of "error" threw:', reason);
  }
};
function callbacksOf(first) {
  return typeof first === "string" ? void 0 : first;
}
function defaults2(options) {
  return {
    appid: options.appid,
    data: options.data,
    version: options.version,
    offline: options.offline || "queue",
    queueLimit: or(options.queueLimit, 100),
    queueBytes: or(options.queueBytes, 256 * 1024),
    queueTimeout: or(options.queueTimeout, 6e4),
    hideDelay: or(options.hideDelay, 3e3),
    timeout: or(options.timeout, 5e3),
    probeTimeout: or(options.probeTimeout, 3e3),
    pingDelay: or(options.pingDelay, 1e4),
    minReconnectDelay: or(options.minReconnectDelay, 500),
    maxReconnectDelay: or(options.maxReconnectDelay, 2e4),
    reportVisibility: Boolean(options.reportVisibility)
  };
}
function or(value, otherwise) {
  return value === void 0 ? otherwise : value;
}
function socketUrl(url) {
  const found = /^(wss?:\/\/[^/?#]+)(\/[^?#]*)?(\?[^#]*)?$/.exec(url || "");
  if (!found) {
    throw new GatewayError(107, "url is the address of the socket, as wss://api.example.com", void 0, false);
  }
  const [, host, path, query] = found;
  return host + (path && path !== "/" ? path : PATH) + (query || "");
}
function httpUrl(given, socket) {
  const url = given || socket.replace(/^ws/, "http").replace(/^(https?:\/\/[^/]+).*$/, "$1");
  return url.replace(/\/+$/, "");
}

// src/index.ts
function createGateway(options) {
  return new GatewayClient(options);
}
var index_default = createGateway;
export {
  GatewayError,
  LocalCode,
  createGateway,
  index_default as default
};
