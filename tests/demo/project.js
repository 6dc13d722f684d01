// A mini-program as WeChat's compilers see it, run without WeChat: App, Page and getApp over a `wx` object.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const vm = require('node:vm');

globalThis.window = globalThis; // the compilers' output looks for a page
const { wxmlToJs, wxssToJs } = require('miniprogram-compiler');

/** Compiles the project at `root`; throws where a template or a style sheet is wrong. */
function compile(root) {
  const templates = new Function('global', wxmlToJs(root))({});
  wxssToJs(root);
  return (page) => templates(`${page}.wxml`);
}

function readJson(root, file) {
  return JSON.parse(fs.readFileSync(path.join(root, file), 'utf8'));
}

/** The style sheet of a page with its rpx as the pixels of a phone of this width. */
function styleOf(root, page, width) {
  const read = (file) => (fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '');
  const source = read(path.join(root, 'app.wxss')) + read(path.join(root, `${page}.wxss`));
  return source.replace(/(-?[\d.]+)rpx/g, (_, size) => `${(Number(size) * width) / 750}px`);
}

/** One program in memory: its app and its pages, each with the data that it shows. */
class Program {
  /** `sources` stand in for files of the project, by name. */
  constructor(root, wx, globals = {}, sources = {}) {
    this.root = root;
    this.sources = sources;
    this.render = compile(root);
    this.modules = new Map();
    const self = this;
    this.globals = {
      wx,
      ...globals,
      App: (definition) => (self.app = definition),
      Page: (definition) => (self.definition = definition),
      getApp: () => self.app,
    };
    this.load('app.js');
    if (this.app.onLaunch) this.app.onLaunch({});
  }

  /** CommonJS over files of the project, as WeChat has it: relative names only, no Node. */
  load(file) {
    const name = path.normalize(file.endsWith('.js') ? file : `${file}.js`);
    const known = this.modules.get(name);
    if (known) return known.exports;
    const module = { exports: {} };
    this.modules.set(name, module);
    const source = this.sources[name] ?? fs.readFileSync(path.join(this.root, name), 'utf8');
    const names = ['module', 'exports', 'require', ...Object.keys(this.globals)];
    const require = (wanted) => this.load(path.join(path.dirname(name), wanted));
    const run = vm.compileFunction(source, names, { filename: path.join(this.root, name) });
    run(module, module.exports, require, ...Object.values(this.globals));
    return module.exports;
  }

  /** Opens a page, as a tap on its tab does. */
  open(name) {
    this.load(name);
    const page = Object.create(this.definition);
    page.data = structuredClone(this.definition.data || {});
    page.setData = (changes, done) => {
      for (const [key, value] of Object.entries(changes)) page.data[key] = structuredClone(value);
      if (done) done();
    };
    page.name = name;
    if (page.onLoad) page.onLoad({});
    if (page.onShow) page.onShow();
    if (page.onReady) page.onReady();
    return page;
  }

  /** What the page shows now: the tree that WeChat's template makes of its data. */
  tree(page) {
    return this.render(page.name)(page.data);
  }
}

/** All text of a tree, in order. */
function textOf(node) {
  if (typeof node === 'string') return node;
  return (node.children || []).map(textOf).filter(Boolean).join('\n');
}

/** Every node of a tree. */
function* nodes(node) {
  if (typeof node === 'string') return;
  yield node;
  for (const child of node.children || []) yield* nodes(child);
}

/** Names of the handlers that a tree binds. */
function handlersOf(tree) {
  const names = new Set();
  for (const { attr = {} } of nodes(tree)) {
    for (const [key, value] of Object.entries(attr)) if (/^(bind|catch)/.test(key)) names.add(value);
  }
  return names;
}

const TAGS = { 'wx-view': 'div', 'wx-text': 'span', 'wx-image': 'img', 'wx-page': 'main', 'wx-canvas': 'canvas' };

/** A tree as HTML, near enough to look at. */
function htmlOf(node) {
  if (typeof node === 'string') return node.replace(/[&<>]/g, (sign) => `&#${sign.charCodeAt(0)};`);
  const attr = node.attr || {};
  const quoted = (value) => String(value).replace(/[&"<>]/g, (sign) => `&#${sign.charCodeAt(0)};`);
  const given = ['class', 'src', 'style', 'value', 'placeholder', 'id']
    .filter((name) => attr[name] !== undefined)
    .map((name) => ` ${name}="${quoted(attr[name])}"`)
    .join('');
  const tag = TAGS[node.tag] || node.tag.replace('wx-', '');
  if (tag === 'img' || tag === 'input') return `<${tag}${given}>`;
  if (tag === 'switch') return `<input type="checkbox"${attr.checked ? ' checked' : ''}>`;
  return `<${tag}${given}>${(node.children || []).map(htmlOf).join('')}</${tag}>`;
}

module.exports = { compile, Program, readJson, styleOf, textOf, handlersOf, htmlOf, nodes };
