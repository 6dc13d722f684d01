'use strict';
// A person on the page of `gateway dev`, in headless Chromium.
// Usage: node walk.js PAGE_URL LANGUAGE SCREENSHOT_FOLDER UNIT PICTURE
// UNIT is how many milliseconds one millisecond of patience takes on this machine.
// Prints one JSON object: what was seen. Exits with 1 and a sentence where something is not as it should be.

const assert = require('node:assert/strict');
const { walkThrough, judge, prefer, LAPTOP } = require('./screen.js');

const PICTURE = process.argv[6];
const WORDS = {
  en: {
    publish: 'Publish', connected: 'connected', background: 'Background 6 s', lose: 'Lose network', back: 'Network back',
    wifi: 'Switch Wi-Fi', slow: 'Slow 3G', kill: 'Kill', open: 'Open again', recovered: 'recovered', signed_in: 'signed in with a new code',
    came_back: 'back with the token, no new code', missed: /^\d+ messages? (was|were) missed and recovered$/, alone: 'Bob alone',
    everyone: 'every phone', news: 'channel news', add: 'Add a phone', offline: 'no network', killed: 'not running', wire: 'Wire', send: 'Send',
    subscribes: 'asks to subscribe to news', again: /^asks for news after #\d+$/, call: 'Call', live: 'Live', connections: 'Connections',
    disconnect: 'Disconnect', start: 'Start', found: '3 connections', nobody: 'End it and start the shop instead:', age: /^Connected for\d+ s$/,
    position: /which is at #(\d+); brings \d+ missed/,
  },
  zh: {
    publish: '发布', connected: '已连接', background: '后台 6 秒', lose: '断开网络', back: '恢复网络',
    wifi: '切换 Wi-Fi', slow: '慢速 3G', kill: '杀掉', open: '重新打开', recovered: '补收', signed_in: '已用新的 code 登录',
    came_back: '已用令牌恢复，无需新的 code', missed: /^找回 \d+ 条错过的消息$/, alone: 'Bob 一人',
    everyone: '所有手机', news: '频道 news', add: '添加手机', offline: '无网络', killed: '未运行', wire: '线路', send: '发送',
    subscribes: '请求订阅 news', again: /^请求 news 中 #\d+ 之后的消息$/, call: '调用', live: '实时', connections: '连接',
    disconnect: '断开', start: '开始', found: '3 个连接', nobody: '请停掉它，改为启动商店示例：', age: /^已连接\d+ 秒$/,
    position: /当前位置 #(\d+)；带来 \d+ 条/,
  },
};

walkThrough(async ({ page, url, language, shot }) => {
  const words = WORDS[language];
  const phone = (name) => page.locator('article.phone', { has: page.getByRole('heading', { name, exact: true }) });
  const press = (where, name) => where.getByRole('button', { name, exact: true }).click();
  const texts = (name) => phone(name).locator('.messages li:not(.note) p').allTextContents();
  const shows = (name, text) => phone(name).locator('.messages').getByText(text, { exact: true }).first().waitFor();
  const is = (name, text) => phone(name).locator('.state', { hasText: text }).waitFor();
  const view = (name) => page.getByRole('navigation').getByRole('button', { name, exact: true }).click();
  const publish = async (text, target) => {
    if (target) await page.locator('#target').selectOption({ label: target });
    await page.locator('#text').fill(text);
    await press(page.locator('#publish'), words.publish);
  };
  /** The publications named by `names`, as the phone shows them: each text ends with a number. */
  const only = (list, names) => list.map((text) => text.replace(/ \d+$/, '')).filter((text) => names.includes(text));
  const everyone = ['Alice', 'Bob'];

  await page.goto(url);
  assert.equal(await page.locator('html').getAttribute('lang'), language === 'zh' ? 'zh-CN' : 'en', 'the language of the browser');
  for (const name of everyone) {
    await is(name, words.connected);
    await shows(name, words.signed_in);
  }

  // On a laptop's screen everything that one presses is in sight.
  for (const button of await page.locator('button:visible').all()) {
    const box = await button.boundingBox();
    assert.ok(box.y + box.height <= LAPTOP.height, `${await button.textContent()} is below the fold`);
  }

  // To a channel, to one, to all.
  await publish('one');
  for (const name of everyone) await phone(name).getByText(/^one \d+$/).waitFor();
  await publish('secret', words.alone);
  await phone('Bob').getByText(/^secret \d+$/).waitFor();
  await publish('all', words.everyone);
  for (const name of everyone) await phone(name).getByText(/^all \d+$/).waitFor();
  assert.deepEqual(only(await texts('Alice'), ['secret']), []);

  // What Alice says, Bob hears; what Bob photographs, Alice sees.
  await phone('Alice').locator('.composer input:not([type=file])').fill('hi there');
  await press(phone('Alice'), words.send);
  await shows('Bob', 'hi there');
  await phone('Bob').locator('input[type=file]').setInputFiles(PICTURE);
  const picture = phone('Alice').locator('img.picture');
  await picture.waitFor();
  await page.waitForFunction((image) => image.complete && image.naturalWidth > 0, await picture.elementHandle());
  await judge(page, 'phones, light');
  await shot('1-phones');

  // A call from a phone to a handler that nobody has written.
  await press(page.locator('#rpc'), words.call);
  await page.locator('#rpc .outcome.bad').waitFor();
  await page.locator('#rpc').getByText(words.nobody).getByText('.venv/bin/gateway dev examples.shop:gateway', { exact: true }).waitFor();

  // The wire, in words.
  await phone('Bob').getByRole('tab', { name: words.wire }).click();
  await phone('Bob').locator('.wire').getByText(words.subscribes, { exact: true }).waitFor();
  await phone('Bob').locator('.wire').getByText(words.subscribes, { exact: true }).click();
  assert.match(await phone('Bob').locator('.wire pre').textContent(), /"subscribe"/);

  // Alice goes to the background for six seconds, Bob loses the network: both miss nothing.
  await press(phone('Alice'), words.background);
  await phone('Alice').locator('.state.away').waitFor();
  await press(phone('Bob'), words.lose);
  await is('Bob', words.offline);
  await page.waitForTimeout(1000); // as long as the app keeps its socket in the background, and more
  await publish('two', words.news);
  await publish('three');
  await page.locator('#outcome', { hasText: /\d/ }).waitFor();
  assert.deepEqual(only(await texts('Alice'), ['two', 'three']), [], 'a phone in the background gets nothing');
  await prefer(page, 'dark');
  await judge(page, 'phones, dark');
  await shot('2-away-dark');
  await prefer(page, 'light');
  await press(phone('Bob'), words.back);
  await is('Bob', words.connected);
  await phone('Bob').locator('.wire').getByText(words.again).last().waitFor();
  const said = await phone('Bob').locator('.wire .said', { hasText: words.position }).last().textContent();
  await phone('Bob').getByRole('tab').first().click();
  await is('Alice', words.connected);
  for (const name of everyone) {
    await phone(name).locator('.messages').getByText(words.missed).first().waitFor();
    await shows(name, words.came_back);
    assert.deepEqual(only(await texts(name), ['two', 'three']), ['two', 'three'], name);
    assert.equal(await phone(name).locator('li.recovered .mark').count(), 2, name);
  }
  const last = await phone('Bob').locator('li.recovered .offset').last().textContent();
  assert.equal(said.match(words.position)[1], last.match(/\d+/)[0], 'the position is the one after what was recovered');

  // Another Wi-Fi, a slow network, killed and opened again: still nothing is missing, nothing comes twice.
  await press(phone('Alice'), words.wifi);
  await press(phone('Bob'), words.slow);
  await publish('four');
  for (const name of everyone) await phone(name).getByText(/^four \d+$/).waitFor();
  await is('Alice', words.connected);
  await press(phone('Alice'), words.kill);
  await is('Alice', words.killed);
  await publish('five');
  await phone('Bob').getByText(/^five \d+$/).waitFor();
  await press(phone('Alice'), words.open);
  await is('Alice', words.connected);
  await publish('six');
  for (const name of everyone) await phone(name).getByText(/^six \d+$/).waitFor();
  const order = ['one', 'two', 'three', 'four', 'five', 'six'];
  for (const name of everyone) assert.deepEqual(only(await texts(name), order), order, name);
  await page.locator('.add-phone', { hasText: words.add }).click();
  await is('Carol', words.connected);
  await shot('3-three-phones');

  // The charts go on while one publishes every second.
  await page.locator('#ticking').check();
  await view(words.live);
  await page.locator('.tile').first().waitFor();
  await page.waitForFunction(() => document.querySelectorAll('.tile .value')[2].textContent.match(/[1-9]/));
  const cut = await page.evaluate(() => [...document.querySelectorAll('.plot')].filter((plot) => {
    const pen = plot.querySelector('canvas').getContext('2d');
    pen.save();
    pen.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    const half = pen.measureText('00:00:00').width / devicePixelRatio / 2;
    pen.restore();
    return plot.getBoundingClientRect().right - plot.querySelector('.u-over').getBoundingClientRect().right < half;
  }).length);
  assert.equal(cut, 0, 'the last time of day has room at the right edge');
  await judge(page, 'live, light');
  await shot('4-live');
  await prefer(page, 'dark');
  await judge(page, 'live, dark');
  await shot('5-live-dark');

  // One connection: found, traced, ended; the phone comes back by itself.
  await view(words.connections);
  await page.getByText(words.found).waitFor();
  await judge(page, 'connections, dark');
  await page.locator('tbody tr').first().locator('td').nth(2).click();
  const drawer = page.locator('.drawer');
  const client = await drawer.locator('dd').first().textContent();
  await drawer.getByRole('button', { name: words.start }).click();
  await drawer.locator('.trace .line').first().waitFor();
  const age = drawer.locator('dl > div', { hasText: words.age });
  const before = await age.textContent();
  await age.filter({ hasNotText: before }).waitFor();
  await judge(page, 'details, dark');
  await shot('6-details-dark');
  await prefer(page, 'light');
  await judge(page, 'details, light');
  await drawer.getByRole('button', { name: words.disconnect, exact: true }).click();
  await drawer.locator('.actions .outcome:not(.bad):not(:empty)').waitFor();
  await page.keyboard.press('Escape');
  await page.getByText(client.slice(0, 8)).waitFor({ state: 'detached' });
  await page.getByText(words.found).waitFor();

  // The other language, remembered; on a phone's screen.
  await page.locator('#language').click();
  await page.setViewportSize({ width: 375, height: 812 });
  for (const [index, name] of ['phones', 'live', 'connections'].entries()) {
    await page.getByRole('navigation').getByRole('button').nth(index).click();
    await page.waitForTimeout(200);
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 375, `${name} is ${width} px wide on a screen of 375`);
    if (name === 'connections') {
      const hidden = await page.locator('.cards').evaluate((card) => card.scrollWidth - card.clientWidth);
      assert.equal(hidden, 0, 'all of each connection is in sight');
      await judge(page, 'connections, narrow');
    }
    await shot(`7-narrow-${name}`);
  }
  const command = await page.locator('#command').textContent();
  assert.match(command, /^curl http:\/\/127\.0\.0\.1:\d+\/api\/publish -H 'X-API-Key: dev' -d '\{.*\}'$/);
  await page.reload();
  assert.equal(await page.locator('html').getAttribute('lang'), language === 'zh' ? 'en' : 'zh-CN', 'the choice is remembered');
  return { command };
});
