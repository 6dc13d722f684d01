// Random lives of phones against a real gateway: background, lost network, other network, killed apps, disconnects.
// After each of them every message was seen once and in order, and `wx.login` was used once.
//
//   node test/schedules.mjs                 all of them, some dozens of phones at a time
//   node test/schedules.mjs --seed 17       one, with everything that happens
//   node test/schedules.mjs --from 1 --to 100 --parallel 20
//
// The gateway is at GATEWAY_SOCKET, GATEWAY_HTTP and GATEWAY_API, with the key GATEWAY_KEY (tests/miniprogram starts
// one). Times are a fiftieth of a phone's. The same seed is the same schedule; sockets and the machine are not.
//
// What "once" means: an app keeps what it has seen and where it stands in one write, as a careful app does. A killed
// app goes on from there: over all its lives each message is there once. With the library's own `keep`, which writes
// later, a killed app may see the last messages before a second time, and never misses one.

import http from 'node:http';
import { parseArgs } from 'node:util';

import { load } from './load.mjs';
import { Phone } from './phone.mjs';
import { seeded, sleep } from './random.mjs';

const SCALE = 1 / 50;
const MESSAGES = 8;
/** A slow machine has more time, and is not taken for a broken network. */
const FACTOR = Number(process.env.GATEWAY_TEST_TIME_FACTOR ?? 1);
const PATIENCE = Number(process.env.PATIENCE ?? 30000) * FACTOR;
const { GATEWAY_SOCKET, GATEWAY_HTTP, GATEWAY_API, GATEWAY_KEY } = process.env;

const LIBRARY = {
  url: GATEWAY_SOCKET,
  httpUrl: GATEWAY_HTTP,
  hideDelay: 3000 * SCALE,
  minReconnectDelay: 500 * SCALE,
  maxReconnectDelay: 20000 * SCALE,
  timeout: 2000 * FACTOR, // of a loaded machine, not of a phone
  probeTimeout: 500 * FACTOR,
  pingDelay: 500 * FACTOR,
};

// ---------------------------------------------------------------------------- the backend
const agent = new http.Agent({ keepAlive: true, maxSockets: 16 });

function api(method, params) {
  const body = JSON.stringify(params);
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), 'x-api-key': GATEWAY_KEY };
  return new Promise((resolve, reject) => {
    const request = http.request(`${GATEWAY_API}/${method}`, { method: 'POST', agent, headers }, (response) => {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('end', () => {
        const answer = JSON.parse(Buffer.concat(chunks));
        if (answer.error) reject(new Error(`${method}: ${JSON.stringify(answer.error)}`));
        else resolve(answer.result);
      });
    });
    request.on('error', reject);
    request.end(body);
  });
}

// ---------------------------------------------------------------------------- the app
/** What an app keeps in storage: what it has seen, and where it stands; what it did in this life is in memory. */
class App {
  constructor(schedule) {
    this.schedule = schedule;
    const { phone } = schedule;
    const life = phone.launch();
    const { createGateway } = load(life);
    this.seen = [];
    this.gateway = createGateway({ ...LIBRARY, data: { life: phone.lives.length } });
    const { wx } = life;
    const kept = wx.getStorageSync('app') || { seen: [], position: null };
    const options = schedule.keeps === 'library' ? { keep: true } : { since: kept.position };
    const handlers = {
      publication: ({ data, offset, epoch }) => {
        this.seen.push(data.number);
        wx.setStorageSync('app', { seen: [...wx.getStorageSync('app').seen, data.number], position: { offset, epoch } });
        schedule.note(`life ${phone.lives.length} saw ${data.number}`);
      },
      subscribed: ({ position }) => {
        const there = wx.getStorageSync('app');
        if (!there.position) wx.setStorageSync('app', { ...there, position });
      },
      gap: () => schedule.trouble.push('gap: messages are missing, says the library'),
      error: (error) => schedule.note(`subscription: ${error.message}`),
    };
    if (!wx.getStorageSync('app')) wx.setStorageSync('app', kept);
    schedule.seenInLives.push(this.seen);
    this.gateway.on('state', ({ state }) => schedule.note(`state ${state}`));
    this.gateway.on('error', (error) => {
      schedule.note(`error ${error.code} ${error.message}`);
      if (!schedule.answered && [1, 2, 400].includes(error.code)) schedule.disrupted++;
    });
    this.gateway.on('disconnected', (error) => schedule.trouble.push(`given up: ${error.message}`));
    this.subscription = schedule.personal
      ? this.gateway.personal(handlers, options)
      : this.gateway.subscribe(schedule.channel, handlers, options);
    this.gateway.connect().catch((error) => life.alive && schedule.trouble.push(`connect: ${error.message}`));
  }
}

// ---------------------------------------------------------------------------- one schedule
class Schedule {
  constructor(seed, loud) {
    this.seed = seed;
    this.random = seeded(seed);
    this.personal = this.random() < 0.3;
    this.keeps = this.random() < 0.3 ? 'library' : 'app';
    this.hasty = this.random() < 0.3; // things happen before the first sign-in has ended
    this.user = `phone-${process.env.GATEWAY_RUN ?? ''}-${seed}`;
    this.channel = `news-${process.env.GATEWAY_RUN ?? ''}-${seed}`;
    this.trace = [];
    this.trouble = [];
    this.seenInLives = [];
    this.published = 0;
    this.answered = 0; // sign-ins by code whose answer reached the phone
    this.disrupted = 0; // what happened before the first of them
    this.began = Date.now();
    this.loud = loud;
    this.phone = new Phone({
      scale: SCALE,
      random: this.random,
      user: this.user,
      sandbox: `${GATEWAY_HTTP}/sandbox`,
      maxSockets: this.random() < 0.5 ? 2 : 5,
      lostClose: this.random() < 0.3 ? 1 : 0.2,
      onStore: (key) => {
        if (key === 'wx-gateway.session') this.answered++;
      },
    });
  }

  note(text) {
    const line = `${String(Date.now() - this.began).padStart(6)} ${text}`;
    this.trace.push(line);
    if (this.loud) console.log(line);
  }

  /** Between 0 and `most` milliseconds of a phone's time. */
  wait(most) {
    return sleep(this.random() * most * SCALE);
  }

  async run() {
    this.app = new App(this);
    const { phone } = this;
    if (!this.hasty || this.personal) await this.until(() => this.app.subscription.position, 'the first subscription');
    // A channel nobody was in has no history: its first message is the one after this.
    const { publishing } = this.start();
    const steps = 4 + Math.floor(this.random() * 6);
    for (let step = 0; step < steps; step++) {
      const [name, happen] = step === 1 && this.seed % 8 === 0 ? DEAF : phone.pick(EVENTS);
      this.note(name);
      if (!this.answered) this.disrupted += 3;
      await happen(this);
      await this.wait(4000);
    }
    await publishing;
    this.note('all is well from here');
    if (!phone.app) this.app = new App(this);
    phone.show();
    if (!phone.network.reachable) phone.find('wifi');
    await this.until(() => this.kept().position, 'a subscription');
    await this.publish(MESSAGES + 1);
    await this.until(() => this.kept().seen.at(-1) === this.published, 'the last message').catch((error) => this.trouble.push(error.message));
    await sleep(20); // for one too many
    this.check();
    phone.kill();
    return this.trouble;
  }

  /** Messages come whatever happens. */
  start() {
    const publishing = (async () => {
      for (let number = 1; number <= MESSAGES; number++) {
        await this.wait(3500);
        await this.publish(number);
      }
    })();
    publishing.catch((error) => this.trouble.push(error.message));
    return { publishing };
  }

  async publish(number) {
    await api('publish', { channel: this.personal ? this.ownChannel() : this.channel, data: { number } });
    this.published = number;
    this.note(`published ${number}`);
  }

  ownChannel() {
    this.own = this.own ?? `#${this.app.gateway.openid}`;
    return this.own;
  }

  /** What the app has in storage. */
  kept() {
    return JSON.parse(this.phone.storage.get('app'));
  }

  check() {
    const all = this.kept().seen;
    // Who was not there before the first message begins where it came in: nothing was promised before.
    const first = this.hasty && !this.personal ? (all[0] ?? 1) : 1;
    const wanted = Array.from({ length: this.published - first + 1 }, (_, index) => first + index);
    if (this.keeps === 'app') {
      if (String(all) !== String(wanted)) this.trouble.push(`seen [${all}], published 1-${this.published}`);
    } else {
      this.seenInLives.forEach((seen, life) => {
        seen.forEach((number, index) => {
          if (index && number !== seen[index - 1] + 1) this.trouble.push(`life ${life + 1} saw [${seen}]`);
        });
      });
      if (String([...new Set(all)]) !== String(wanted)) this.trouble.push(`seen [${all}], published 1-${this.published}`);
    }
    if (this.answered > 1) this.trouble.push(`${this.answered} sign-ins by code`);
    // A code is spent, or gone, where something happened between wx.login and the answer: only then there is another.
    const allowed = 1 + this.disrupted;
    if (this.phone.logins > allowed) this.trouble.push(`${this.phone.logins} wx.login, ${allowed} allowed`);
  }

  async until(condition, what) {
    const deadline = Date.now() + PATIENCE;
    while (!condition()) {
      if (Date.now() > deadline) throw new Error(`waited in vain for ${what}: seen [${this.kept().seen}] of ${this.published}`);
      await sleep(5);
    }
  }
}

// ---------------------------------------------------------------------------- what happens
const EVENTS = [
  ['hidden for a moment', async (s) => (s.phone.hide(), await s.wait(4000), s.phone.show())],
  ['hidden for long', async (s) => (s.phone.hide(), await sleep(6000 * SCALE), await s.wait(6000), s.phone.show())],
  ['hidden again and again', async (s) => {
    for (let times = 0; times < 3; times++) (s.phone.hide(), await s.wait(7000), s.phone.show(), await s.wait(300));
  }],
  ['network lost', async (s) => (s.phone.lose(), await s.wait(6000), s.phone.find('4g'))],
  ['network lost while hidden', async (s) => (s.phone.hide(), s.phone.lose(), await s.wait(8000), s.phone.show(), await s.wait(2000), s.phone.find('wifi'))],
  ['network lost, and nobody says so', async (s) => (s.phone.lose({ notify: false }), await s.wait(4000), s.phone.find('wifi', { notify: false }))],
  ['half open, found by the network event', async (s) => (s.phone.lose({ silent: true }), await s.wait(3000), s.phone.find('wifi'))],
  ['another network', async (s) => s.phone.switchNetwork(s.phone.pick(['4g', '5g', 'wifi']), { silent: s.phone.chance(0.5) })],
  ['killed', async (s) => (s.phone.kill(), await s.wait(4000), (s.app = new App(s)))],
  ['killed in the background', async (s) => (s.phone.hide(), await s.wait(9000), s.phone.kill(), (s.app = new App(s)))],
  ['disconnected by the backend', async (s) => {
    const openid = s.app.gateway.openid;
    if (openid) await api('disconnect', { user: openid, disconnect: { code: s.phone.pick([3001, 3010, 3011, 4001]), reason: 'again' } });
  }],
  ['unsubscribed for want of state', async (s) => {
    const openid = s.app.gateway.openid;
    if (openid && !s.personal) await api('disconnect', { user: openid, disconnect: { code: 3010, reason: 'insufficient state' } });
  }],
];
/** Found by silence alone, which takes a ping interval of a whole second: one in eight schedules has it. */
const DEAF = ['half open, and nobody says so', async (s) => s.phone.switchNetwork(s.phone.network.type, { silent: true, notify: false })];

// ---------------------------------------------------------------------------- all of them
async function main() {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      from: { type: 'string', default: '1' },
      to: { type: 'string', default: '1000' },
      parallel: { type: 'string', default: '60' },
    },
  });
  const seeds = values.seed ? [Number(values.seed)] : range(Number(values.from), Number(values.to));
  const failed = [];
  const began = Date.now();
  let logins = 0;
  let lives = 0;
  const one = async (seed) => {
    const schedule = new Schedule(seed, Boolean(values.seed));
    try {
      await schedule.run();
    } catch (error) {
      schedule.trouble.push(error.stack);
      schedule.phone.kill();
    }
    logins += schedule.phone.logins;
    lives += schedule.phone.lives.length;
    if (schedule.trouble.length) failed.push(schedule);
  };
  const waiting = seeds.slice();
  const worker = async (place) => {
    await sleep(place * 10); // people do not open an app all at once
    while (waiting.length && failed.length < 5) await one(waiting.shift());
  };
  await Promise.all(Array.from({ length: Math.min(Number(values.parallel), seeds.length) }, (_, place) => worker(place)));
  for (const schedule of failed.slice(0, 3)) {
    console.log(`seed ${schedule.seed}: ${schedule.trouble.join('; ')}\n${schedule.trace.slice(-80).join('\n')}\n`);
  }
  const seconds = (Date.now() - began) / 1000;
  console.log(JSON.stringify({ schedules: seeds.length - waiting.length, failed: failed.map((each) => each.seed), logins, lives, seconds }));
  process.exit(failed.length ? 1 : 0);
}

function range(from, to) {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}

await main();
