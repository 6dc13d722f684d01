'use strict';
// A person on the page of `gateway dev`, in headless Chromium.
// Usage: node walk.js PAGE_URL LANGUAGE SCREENSHOT_FOLDER UNIT
// UNIT is how many milliseconds one millisecond of patience takes on this machine.
// Prints one JSON object: what was seen. Exits with 1 and a sentence where something is not as it should be.

const assert = require('node:assert/strict');
const path = require('node:path');
const { chromium } = require('playwright-core');

const [, , url, language, shots, unit] = process.argv;
const PATIENCE = 10_000 * Number(unit);
const ARGUMENTS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];
const WORDS = {
  en: {
    switch: '中文', publish: 'Publish', connected: 'connected', background: 'Background for 6 s',
    lose: 'Lose the network', back: 'Network is back', recovered: 'recovered', signed_in: 'signed in with a new code',
    came_back: 'back with the token, no new code', two: 'caught up: 2 messages were missed and recovered',
    one: 'caught up: 1 message was missed and recovered', alone: 'Bob alone', everyone: 'every phone',
    add: 'Add a phone', offline: 'no network',
  },
  zh: {
    switch: 'English', publish: '发布', connected: '已连接', background: '切到后台 6 秒',
    lose: '断开网络', back: '恢复网络', recovered: '补收', signed_in: '已用新的 code 登录',
    came_back: '已用令牌恢复，无需新的 code', two: '已补齐：找回 2 条错过的消息',
    one: '已补齐：找回 1 条错过的消息', alone: '仅 Bob', everyone: '所有手机',
    add: '添加手机', offline: '无网络',
  },
}[language];

const trouble = [];
let page;

const phone = (name) => page.locator('article.phone', { has: page.getByRole('heading', { name, exact: true }) });
const shot = (name) => page.screenshot({ path: path.join(shots, `${name}-${language}.png`), fullPage: true });
const press = (where, name) => where.getByRole('button', { name, exact: true }).click();
const texts = (name) => phone(name).locator('.messages li:not(.note) p').allTextContents();

/** Waits until the phone shows `text` somewhere in its messages. */
const shows = (name, text) => phone(name).locator('.messages').getByText(text, { exact: true }).first().waitFor();

/** Waits until the state line of the phone says `text`, or begins with it. */
const is = (name, text) => phone(name).locator('.state', { hasText: text }).waitFor();

async function publish(text, target) {
  if (target) await page.locator('#target').selectOption({ label: target });
  await page.locator('#text').fill(text);
  await press(page.locator('#publish'), WORDS.publish);
  await page.locator('#outcome:not(:empty)').waitFor();
}

/** What the page shows of a message: its text ends with the number of the publication. */
const only = (list, ...words) => list.map((text) => text.replace(/ \d+$/, '')).filter((text) => words.includes(text));

async function walk() {
  await page.goto(url);
  if ((await page.locator('html').getAttribute('lang')) !== (language === 'zh' ? 'zh-CN' : 'en')) {
    throw new Error(`the page did not take the language of the browser, ${language}`);
  }

  // Two phones sign in by themselves, each with a code of its own.
  for (const name of ['Alice', 'Bob']) {
    await is(name, WORDS.connected);
    await shows(name, WORDS.signed_in);
  }
  const openids = await page.locator('.openid').allTextContents();
  assert.equal(new Set(openids).size, 2);
  for (const openid of openids) assert.match(openid, /^o[\w-]{27}$/);

  // The desk publishes, both have it at once.
  await publish('one');
  for (const name of ['Alice', 'Bob']) await phone(name).getByText(/^one \d+$/).waitFor();
  await shot('1-published');

  // To one alone, and to everybody.
  await publish('secret', WORDS.alone);
  await phone('Bob').getByText(/^secret \d+$/).waitFor();
  await publish('all', WORDS.everyone);
  for (const name of ['Alice', 'Bob']) await phone(name).getByText(/^all \d+$/).waitFor();
  assert.deepEqual(only(await texts('Alice'), 'secret'), []);

  // Alice goes to the background for six seconds; meanwhile two are published.
  await press(phone('Alice'), WORDS.background);
  await phone('Alice').locator('.state.away').waitFor();
  await publish('two', await page.locator('#target option').first().textContent());
  await publish('three');
  await phone('Bob').getByText(/^three \d+$/).waitFor();
  assert.deepEqual(only(await texts('Alice'), 'two', 'three'), [], 'a phone in the background gets nothing');
  await shot('2-background');
  await is('Alice', WORDS.connected);
  await shows('Alice', WORDS.two);
  await shows('Alice', WORDS.came_back);
  assert.equal(await phone('Alice').locator('li.recovered .mark').count(), 2);
  assert.deepEqual(await phone('Alice').locator('li.recovered .mark').allTextContents(), [WORDS.recovered, WORDS.recovered]);

  // Bob loses the network for as long as it takes.
  await press(phone('Bob'), WORDS.lose);
  await is('Bob', WORDS.offline);
  await publish('four');
  await phone('Alice').getByText(/^four \d+$/).waitFor();
  await press(phone('Bob'), WORDS.back);
  await is('Bob', WORDS.connected);
  await shows('Bob', WORDS.one);
  await shot('3-recovered');

  // Nothing is missing, nothing came twice, everything is in order.
  const words = ['one', 'two', 'three', 'four'];
  for (const name of ['Alice', 'Bob']) assert.deepEqual(only(await texts(name), ...words), words, name);

  // A third phone, the line to copy, and the other language.
  await press(page, WORDS.add);
  await is('Carol', WORDS.connected);
  const command = await page.locator('#command').textContent();
  assert.match(command, /^curl http:\/\/127\.0\.0\.1:\d+\/api\/publish -H 'X-API-Key: dev' -d '\{.*\}'$/);
  await press(page, WORDS.switch);
  assert.equal(await page.locator('html').getAttribute('lang'), language === 'zh' ? 'en' : 'zh-CN');
  await shot('4-other-language');
  await page.setViewportSize({ width: 375, height: 812 });
  await shot('5-narrow');
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 375, `the page is ${width} px wide on a screen of 375`);
  return { openids, command, trouble };
}

async function main() {
  const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ARGUMENTS });
  try {
    const context = await browser.newContext({ locale: language === 'zh' ? 'zh-CN' : 'en-US' });
    page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) trouble.push(message.text());
    });
    page.on('pageerror', (error) => trouble.push(String(error)));
    page.on('requestfailed', (request) => trouble.push(`${request.url()}: ${request.failure()?.errorText}`));
    page.on('response', (answer) => {
      if (answer.status() >= 400) trouble.push(`${answer.url()}: ${answer.status()}`);
    });
    try {
      console.log(JSON.stringify(await walk()));
    } catch (error) {
      await shot('failed').catch(() => {});
      throw error;
    }
  } finally {
    await browser.close();
  }
}

main().catch((error) => {
  console.error(error.message, trouble);
  process.exitCode = 1;
});
