'use strict';
// A centrifuge-js client on Node's ws, driven over stdin and stdout in JSON lines.
// In:  {"id":1,"do":"subscribe",...}   Out: {"id":1,"result":...}, {"id":1,"error":{...}} or {"event":"...",...}

const readline = require('node:readline');
const { Centrifuge, UnauthorizedError } = require('centrifuge');
const WebSocket = require('ws');

let client;

const say = (message) => process.stdout.write(JSON.stringify(message) + '\n');

// Hands out prepared tokens one by one; with none left the user is not authorized any more.
const dispenser = (tokens) => async () => {
  say({ event: 'token_asked' });
  if (tokens.length === 0) throw new UnauthorizedError('no token left');
  return tokens.shift();
};

const CLIENT_EVENTS = ['connecting', 'connected', 'disconnected', 'error'];
const CHANNEL_EVENTS = ['subscribing', 'subscribed', 'unsubscribed', 'publication', 'join', 'leave', 'error'];

const flat = ({ streamPosition, error, ...rest }) => (error ? { ...rest, code: error.code } : rest);

const actions = {
  start({ url, token, data, tokens, delay }) {
    const options = { websocket: WebSocket, data, minReconnectDelay: delay, maxReconnectDelay: 10 * delay };
    if (token) options.token = token;
    if (tokens) options.getToken = dispenser(tokens);
    client = new Centrifuge(url, options);
    for (const name of CLIENT_EVENTS) client.on(name, (ctx) => say({ event: name, ...flat(ctx) }));
    for (const name of CHANNEL_EVENTS.slice(0, -1)) {
      client.on(name, (ctx) => say({ event: name, server: true, ...flat(ctx) }));
    }
  },
  connect: () => client.connect(),
  disconnect: () => client.disconnect(),
  set_token: ({ token }) => client.setToken(token),
  subscribe({ channel, token, tokens, delay }) {
    const options = { minResubscribeDelay: delay, maxResubscribeDelay: 10 * delay };
    if (token) options.token = token;
    if (tokens) options.getToken = dispenser(tokens);
    const subscription = client.newSubscription(channel, options);
    for (const name of CHANNEL_EVENTS) {
      subscription.on(name, (ctx) => say({ event: name, ...flat(ctx), channel }));
    }
    subscription.subscribe();
  },
  unsubscribe: ({ channel }) => client.getSubscription(channel).unsubscribe(),
  publish: ({ channel, data }) => client.publish(channel, data),
  rpc: ({ method, data }) => client.rpc(method, data),
  history: ({ channel, limit }) => client.history(channel, { limit }),
  presence: ({ channel }) => client.presence(channel),
  presence_stats: ({ channel }) => client.presenceStats(channel),
};

readline.createInterface({ input: process.stdin }).on('line', async (line) => {
  const { id, do: action, ...fields } = JSON.parse(line);
  try {
    say({ id, result: (await actions[action](fields)) ?? null });
  } catch (error) {
    say({ id, error: { code: error.code ?? -1, message: String(error.message ?? error) } });
  }
}).on('close', () => process.exit(0));
