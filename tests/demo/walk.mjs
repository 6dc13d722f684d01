// Two phones with the demo: what one does, the other shows. Prints what was seen as JSON.
//
//     node walk.mjs SOCKET_URL HTTP_URL FOLDER UNIT
//
// FOLDER takes the pictures, UNIT is how many milliseconds a millisecond of patience lasts.

import { createRequire } from 'node:module';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Phone } from '../../miniprogram/client/test/phone.mjs';

const require = createRequire(import.meta.url);
const { Program, handlersOf, nodes, readJson, textOf } = require('./project.js');
const { look } = require('./look.js');

const [url, httpUrl, folder, unit] = process.argv.slice(2);
const ROOT = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../miniprogram/demo');
const BACKGROUND_SCALE = 0.02;
const PICTURE = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'demo-')), 'cake.png');
fs.writeFileSync(PICTURE, Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAE0lEQVR4nGO86RXBAANMcBYmBwAZ5AFZ20A4MAAAAABJRU5ErkJggg==', 'base64'));

const toasts = [];
const said = [];

async function until(condition, what, patience = 8000) {
  const end = Date.now() + patience * Number(unit);
  for (;;) {
    const found = condition();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited for ${what}; toasts: ${toasts.join('; ')}; said: ${said.join('; ')}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A drawing board that remembers what was drawn, so that a browser can draw it again. */
function board() {
  const strokes = [];
  const pen = new Proxy({}, {
    get: (_, name) => (...given) => void strokes.push({ call: name, given }),
    set: (_, name, value) => Boolean(strokes.push({ set: name, value })),
  });
  return { strokes, node: { width: 0, height: 0, getContext: () => pen }, width: 315, height: 160 };
}

/** The demo on a phone: what it shows, and how to touch it. */
class Held {
  constructor(name) {
    this.phone = new Phone({ user: name, sandbox: `${httpUrl}/sandbox`, scale: BACKGROUND_SCALE, lostClose: 0 });
    this.life = this.phone.launch();
    this.board = board();
    const query = { select: () => query, fields: () => query, exec: (tell) => tell([this.board]) };
    const wx = Object.assign(Object.create(this.life.wx), {
      showToast: ({ title }) => toasts.push(title),
      showModal: ({ title, content }) => toasts.push(`${title} ${content}`),
      pageScrollTo: () => {},
      previewImage: ({ urls }) => (this.preview = urls),
      chooseMedia: ({ success }) => success({ tempFiles: [{ tempFilePath: PICTURE }] }),
      getWindowInfo: () => ({ pixelRatio: 2 }),
      createSelectorQuery: () => query,
    });
    // The tests' addresses, where the demo has those of a laptop.
    const { setTimeout, clearTimeout } = this.life;
    const every = (callback, milliseconds) => {
      const state = {};
      const again = () => (state.id = setTimeout(() => (again(), callback()), milliseconds));
      again();
      return state;
    };
    this.program = new Program(ROOT, wx, {
      setTimeout,
      clearTimeout,
      setInterval: every,
      clearInterval: (state) => state && clearTimeout(state.id),
      console: { ...console, warn: (text) => said.push(text) },
    }, { 'config.js': `module.exports = ${JSON.stringify({ url, httpUrl, sandbox: true })};` });
  }

  open(page) {
    this.page = this.program.open(page);
    return this.page;
  }

  text() {
    return textOf(this.program.tree(this.page));
  }

  shows(words) {
    return until(() => this.text().includes(words), `${this.phone.options.user} to show ${words}, instead of:\n${this.text()}`);
  }

  /** Touch the element that a template binds `handler` to; `choose` finds it among several. */
  tap(handler, choose = () => true, detail = {}) {
    for (const node of nodes(this.program.tree(this.page))) {
      const attr = node.attr || {};
      if (Object.entries(attr).some(([key, value]) => /^(bind|catch)/.test(key) && value === handler) && choose(node)) {
        const dataset = {};
        for (const key of Object.keys(attr)) if (key.startsWith('data-')) dataset[key.slice(5)] = attr[key];
        return this.page[handler]({ currentTarget: { dataset }, detail });
      }
    }
    throw new Error(`nothing on ${this.page.name} calls ${handler}`);
  }
}

const ann = new Held('ann');
const bob = new Held('bob');
const both = [ann, bob];
const seen = { pages: readJson(ROOT, 'app.json').pages, missing: [] };
const shots = [];

const shoot = (name, held, rest = {}) => shots.push({ name, page: held.page.name, tree: held.program.tree(held.page), ...rest });
const inspect = (held) => {
  for (const name of handlersOf(held.program.tree(held.page))) {
    if (typeof held.page[name] !== 'function') seen.missing.push(`${held.page.name}: ${name}`);
  }
};

// Orders: placed by one, moved on by the other, and one while a phone is away.
for (const held of both) held.open('pages/orders/orders');
for (const held of both) await held.shows('已连接');
ann.tap('place');
for (const held of both) await held.shows('新订单');
bob.tap('advance');
for (const held of both) await held.shows('制作中');
bob.phone.hide();
await until(() => bob.life.suspended, 'the background to cut everything');
ann.tap('place');
await ann.shows('新订单');
seen.missedWhileAway = !bob.text().includes('新订单');
bob.phone.show();
await bob.shows('离线期间的消息');
seen.orders = bob.page.data.orders.map(({ state }) => state);
inspect(bob);
shoot('orders', bob);

// Chat: words, and a picture that the other phone downloads.
for (const held of both) held.open('pages/chat/chat');
await ann.shows('2 人在线');
ann.page.typed({ detail: { value: '桂花糕好了' } });
ann.tap('say', ({ tag }) => tag !== 'wx-input');
await bob.shows('桂花糕好了');
bob.tap('picture');
const picture = await until(() => ann.page.data.messages.map((each) => each.picture).find(Boolean), 'the picture');
seen.picture = fs.readFileSync(picture).subarray(0, 3).toString('hex');
await until(() => bob.page.data.progress === 0, 'the end of the upload');
inspect(ann);
ann.page.data.messages.forEach((message) => message.picture && (message.picture = `data:image/jpeg;base64,${fs.readFileSync(message.picture).toString('base64')}`));
shoot('chat', ann);

// Device: one phone is the sensor, both draw it.
for (const held of both) held.open('pages/device/device');
ann.tap('sense', undefined, { value: true });
for (const held of both) await until(() => /^\d+\.\d$/.test(held.page.data.latest), 'a reading');
await until(() => bob.page.readings.length >= 2, 'a second reading');
ann.tap('sense', undefined, { value: false });
seen.drawn = bob.board.strokes.filter(({ call }) => call === 'lineTo').length > 0;
inspect(bob);
for (let second = 0; second < 58; second++) bob.page.show(24 + 3 * Math.sin(second / 9)); // a full minute, for the picture
const last = bob.board.strokes.slice(bob.board.strokes.map(({ call }) => call).lastIndexOf('clearRect'));
shoot('device', bob, {
  argument: last,
  paint: (strokes) => {
    const canvas = document.querySelector('canvas');
    const ratio = window.devicePixelRatio;
    Object.assign(canvas, { width: canvas.clientWidth * ratio, height: canvas.clientHeight * ratio });
    const pen = canvas.getContext('2d');
    pen.scale(canvas.width / 630, canvas.height / 320);
    pen.scale(2, 2);
    for (const { call, given, set, value } of strokes) {
      if (set) pen[set] = value;
      else pen[call](...given);
    }
  },
});

await look(ROOT, shots, folder);
seen.toasts = toasts;
console.log(JSON.stringify(seen));
process.exit(0);
