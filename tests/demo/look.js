// Pictures of the pages as WeChat's templates and style sheets make them, drawn by Chromium at a phone's width.
'use strict';

const path = require('node:path');
const { chromium } = require('playwright-core');
const { htmlOf, styleOf } = require('./project');

const WIDTH = 375;
const HEIGHT = 720;
/** What WeChat's own elements look like before a style sheet. */
const ELEMENTS = `
  *, *::before { box-sizing: border-box }
  body { margin: 0; font-family: system-ui, 'Noto Sans CJK SC', sans-serif; background: #f5f6f7; color: #1b2126; font-size: 15px; line-height: 1.5 }
  button { border: 0; padding: 0 14px; line-height: 2.55; font-family: inherit }
  input { border: 0; font: inherit }
  img { object-fit: cover }
`;

/** One picture of each shot: `{ name, page, tree, paint? }`, with `paint(canvas)` run in the browser. */
async function look(root, shots, folder) {
  const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
  try {
    const page = await browser.newPage({ viewport: { width: WIDTH, height: HEIGHT }, deviceScaleFactor: 2 });
    for (const shot of shots) {
      const style = ELEMENTS + styleOf(root, shot.page, WIDTH).replace(/(^|\n)page \{/g, '$1body {');
      await page.setContent(`<meta charset="utf-8"><style>${style}</style>${htmlOf(shot.tree)}`);
      if (shot.paint) await page.evaluate(shot.paint, shot.argument);
      await page.screenshot({ path: path.join(folder, `${shot.name}.png`) });
    }
  } finally {
    await browser.close();
  }
}

module.exports = { look };
