// Writes API.md from the comments and types of src/api.ts:  node scripts/reference.mjs [FILE]

import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const here = join(dirname(fileURLToPath(import.meta.url)), '..');
const path = join(here, 'src/api.ts');
const source = ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.ES2020, true);

const oneLine = (text) => text.replace(/\s+/g, ' ').trim();
const cell = (text) => oneLine(text).replace(/\|/g, '\\|');

/** The comment before a declaration, as one line. */
function comment(node) {
  const [found] = ts.getJSDocCommentsAndTags(node).filter(ts.isJSDoc).slice(-1);
  return found ? oneLine(ts.getTextOfJSDocComment(found.comment) ?? '') : '';
}

/** `name?` or `name(…)`, and its type. */
function member(node) {
  const optional = node.questionToken ? '?' : '';
  if (ts.isIndexSignatureDeclaration(node)) return [oneLine(node.getText()).replace(/;$/, ''), ''];
  const name = node.name.getText() + optional;
  if (!ts.isMethodSignature(node)) return [name, node.type ? node.type.getText() : ''];
  const generics = node.typeParameters ? `<${node.typeParameters.map((each) => each.getText()).join(', ')}>` : '';
  const parameters = node.parameters.map((each) => each.getText()).join(', ');
  return [`${name}${generics}(${parameters})`, node.type ? node.type.getText() : 'void'];
}

function methods(node) {
  const lines = [];
  for (const each of node.members) {
    const [name, type] = member(each);
    const text = comment(each);
    const signature = `\`${oneLine(name)}: ${oneLine(type)}\``;
    lines.push(text ? `- ${signature}  \n  ${text}` : `- ${signature}`);
  }
  return lines.join('\n');
}

function table(node) {
  const rows = node.members.map((each) => {
    const [name, type] = member(each);
    return `| \`${cell(name)}\` | ${type ? `\`${cell(type)}\`` : ''} | ${cell(comment(each))} |`;
  });
  return ['| name | type | |', '|---|---|---|', ...rows].join('\n');
}

const declared = source.statements.filter((node) => ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node));
const first = ['Gateway', 'Options', 'Events', 'Handlers', 'SubscribeOptions', 'Subscription', 'Publication', 'GatewayFailure', 'LocalCodes'];
const rank = (node) => (first.includes(node.name.text) ? first.indexOf(node.name.text) : first.length);
declared.sort((one, other) => rank(one) - rank(other));

const parts = [
  '# wx-gateway-client: the reference',
  'Made from [src/api.ts](src/api.ts) by `npm run reference`. How to begin: [From a mini-program](../../docs/mini-program.md).',
  'By npm it is installed from this folder, `npm install path/to/wx-gateway/miniprogram/client`; or copy `wx-gateway.js`, and require that.',
  '```js\nconst { createGateway, GatewayError, LocalCode } = require(\'wx-gateway-client\');\n\nconst gateway = createGateway(options);\n```',
];
for (const node of declared) {
  const generics = node.typeParameters ? `<${node.typeParameters.map((each) => each.getText()).join(', ')}>` : '';
  const heritage = ts.isInterfaceDeclaration(node) && node.heritageClauses ? ` ${node.heritageClauses.map((each) => each.getText()).join(' ')}` : '';
  parts.push(`## ${node.name.text}`);
  if (generics || heritage) parts.push(`\`${node.name.text}${generics}${heritage}\``);
  const text = comment(node);
  if (text) parts.push(text);
  if (ts.isTypeAliasDeclaration(node)) parts.push(`\`\`\`ts\ntype ${node.name.text}${generics} = ${node.type.getText()}\n\`\`\``);
  else parts.push(node.members.some((each) => ts.isMethodSignature(each)) ? methods(node) : table(node));
}
writeFileSync(process.argv[2] ?? join(here, 'API.md'), `${parts.join('\n\n')}\n`);
