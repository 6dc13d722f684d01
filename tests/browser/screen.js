'use strict';
// What both walks share: a browser that notes every trouble, screenshots, and the judgement of axe.

const path = require('node:path');
const { readFileSync } = require('node:fs');
const { chromium } = require('playwright-core');

const ARGUMENTS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];
const AXE = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const LAPTOP = { width: 1280, height: 800 };

/** Runs `walk` on a page of its own and prints what it returns; exits with 1 and a sentence where it fails. */
async function walkThrough(walk) {
  const [, , url, language, shots, unit] = process.argv;
  const patience = 10_000 * Number(unit);
  const trouble = [];
  const expected = new Set();
  const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ARGUMENTS });
  const context = await browser.newContext({ locale: language === 'zh' ? 'zh-CN' : 'en-US', viewport: LAPTOP, reducedMotion: 'reduce' });
  const page = await context.newPage();
  const tell = (text) => [...expected].some((each) => text.includes(each)) || trouble.push(text);
  page.setDefaultTimeout(patience);
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) tell(`${message.text()} ${message.location().url}`);
  });
  page.on('pageerror', (error) => tell(String(error)));
  page.on('requestfailed', (request) => {
    // A trace that is stopped, and what is under way when the page is left.
    if (request.failure()?.errorText !== 'net::ERR_ABORTED') tell(`${request.url()}: ${request.failure()?.errorText}`);
  });
  page.on('response', (answer) => {
    if (answer.status() >= 400) tell(`${answer.url()}: ${answer.status()}`);
  });
  const shot = (name) => page.screenshot({ path: path.join(shots, `${name}-${language}.png`) });
  try {
    const seen = await walk({ page, url, language, shot, expected, patience });
    console.log(JSON.stringify({ ...seen, trouble }));
  } catch (error) {
    await shot('failed').catch(() => {});
    console.error(error.stack, trouble);
    process.exitCode = 1;
  } finally {
    await browser.close();
  }
}

/** Throws where axe finds something serious. */
async function judge(page, where) {
  await page.evaluate(AXE);
  const violations = await page.evaluate(async () => {
    const { violations: found } = await window.axe.run(document, { resultTypes: ['violations'] });
    return found.map(({ id, impact, nodes }) => ({ id, impact, where: nodes.slice(0, 3).map(({ target, failureSummary }) => [target, failureSummary]) }));
  });
  const serious = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  if (serious.length) throw new Error(`axe, ${where}: ${JSON.stringify(serious, null, 1)}`);
}

/** As somebody who prefers dark. */
const prefer = (page, colorScheme) => page.emulateMedia({ colorScheme });

module.exports = { walkThrough, judge, prefer, LAPTOP };
