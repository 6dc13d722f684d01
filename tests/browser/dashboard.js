'use strict';
// Somebody on the dashboard of `gateway serve`, in headless Chromium.
// Usage: node dashboard.js PAGE_URL LANGUAGE SCREENSHOT_FOLDER UNIT PICTURE PASSWORD USER URL_OF_ONE_SWITCHED_OFF
// Prints one JSON object: what was seen. Exits with 1 and a sentence where something is not as it should be.

const assert = require('node:assert/strict');
const { walkThrough, judge, prefer } = require('./screen.js');

const [password, user, off] = process.argv.slice(7);

walkThrough(async ({ page, url, shot, expected }) => {
  const view = (name) => page.getByRole('navigation').getByRole('button', { name, exact: true }).click();

  // Without a password the page says how to switch it on.
  await page.goto(off);
  await page.getByRole('heading', { name: 'The dashboard is off' }).waitFor();
  assert.match(await page.locator('main').innerText(), /\[admin\]\s+password = "…"/);
  await judge(page, 'off');
  await shot('d0-off');

  // A wrong one, the right one.
  await page.goto(url);
  const field = page.getByLabel('Password');
  await judge(page, 'login');
  await field.fill('not the password');
  expected.add('/dashboard/login');
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByText('That is not the password.').waitFor();
  await shot('d1-wrong');
  await field.fill(password);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.locator('.tile').first().waitFor();
  const cookies = await page.context().cookies();
  assert.deepEqual(cookies.map(({ httpOnly, sameSite }) => ({ httpOnly, sameSite })), [{ httpOnly: true, sameSite: 'Strict' }]);
  assert.equal(await page.evaluate(() => document.cookie), '', 'no script can read the cookie');
  await page.reload();
  await page.waitForFunction(() => /[1-9]/.test(document.querySelector('.tile .value')?.textContent ?? ''));
  assert.deepEqual(await page.getByRole('navigation').getByRole('button').allTextContents(), ['Live', 'Connections', 'Desk']);
  // Who does not read stands on top; a click opens them.
  await page.locator('.slow li').first().filter({ hasText: 'turtle' }).waitFor();
  await prefer(page, 'dark');
  await judge(page, 'dashboard, dark');
  await shot('d2-live-dark');
  await prefer(page, 'light');

  // To one user, from the desk.
  await view('Desk');
  await page.locator('#publish select').selectOption('user');
  await page.getByLabel('User', { exact: true }).fill(user);
  await page.getByLabel('Text or JSON').fill('{"from": "the dashboard"}');
  await page.getByRole('button', { name: 'Publish' }).click();
  await page.getByText(/^Published to alice at offset \d+$/).waitFor();
  await judge(page, 'desk');
  await shot('d3-desk');

  // A client is found, ended, and comes back as another connection.
  await view('Connections');
  await page.getByLabel('Search').fill(user);
  const row = page.locator('tbody tr', { hasText: user });
  await row.waitFor();
  const client = await row.locator('code').textContent();
  await row.getByRole('button').focus();
  await page.keyboard.press('Enter');
  await page.locator('.drawer').getByRole('button', { name: 'Disconnect', exact: true }).click();
  await page.getByText('Disconnected; the client comes back by itself.').waitFor();
  await page.keyboard.press('Escape');
  await row.filter({ hasNotText: client }).waitFor();
  await shot('d4-back');

  // Blocked, it does not; unblocked, it may.
  await row.locator('td').last().click();
  const drawer = page.locator('.drawer');
  await drawer.getByRole('button', { name: 'Block user' }).click();
  await drawer.getByRole('group', { name: 'Block user' }).getByRole('button', { name: 'Block user' }).click();
  await drawer.getByText(`${user} is blocked.`).waitFor();
  await page.getByText('No connection matches.').waitFor();
  await shot('d5-blocked');
  await drawer.getByText('This connection is closed.').waitFor();
  await drawer.getByRole('button', { name: 'Unblock' }).click();
  await drawer.getByText(`${user} is no longer blocked.`).waitFor();
  await drawer.getByRole('button', { name: 'Block user' }).click();
  await drawer.getByRole('group', { name: 'Block user' }).getByRole('button', { name: 'Block user' }).click();
  await drawer.getByText(`${user} is blocked.`).waitFor();

  // Also after a reload: they stand below the connections, and the search finds them.
  await page.reload();
  await view('Connections');
  const blocked = page.getByRole('region', { name: 'Blocked users' });
  await blocked.getByText('2 users').waitFor();
  await page.getByLabel('Search').fill(user);
  await blocked.getByText('1 user', { exact: true }).waitFor();
  await blocked.locator('li', { hasText: user }).filter({ hasText: 'until' }).waitFor();
  await judge(page, 'blocked users');
  await shot('d6-blocked-list');
  await blocked.getByRole('button', { name: `Unblock ${user}` }).click();
  await blocked.getByText(`${user} is no longer blocked.`).waitFor();
  await blocked.locator('li').waitFor({ state: 'detached' });
  await page.getByLabel('Search').fill('');
  await blocked.locator('li', { hasText: 'mallory' }).filter({ hasText: 'spam' }).waitFor();

  // Nobody answers: old figures do not look like new ones.
  await view('Live');
  const value = page.locator('.tile .value').first();
  const color = () => value.evaluate((element) => getComputedStyle(element).color);
  const fresh = await color();
  expected.add('/dashboard/api/');
  await page.context().setOffline(true);
  await page.getByText('The gateway does not answer. Trying again …', { exact: true }).waitFor();
  assert.notEqual(await color(), fresh);
  await judge(page, 'no answer');
  await shot('d7-no-answer');
  await page.context().setOffline(false);
  await page.getByRole('alert').waitFor({ state: 'detached' });
  assert.equal(await color(), fresh);

  // And out again.
  await page.getByRole('button', { name: 'Log out' }).click();
  await field.waitFor();
  assert.deepEqual(await page.context().cookies(), []);
  return {};
});
