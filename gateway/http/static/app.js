// The page of `gateway dev`: phones, and a desk that publishes to them.

import { Phone } from "./phone.js";
import { currentLanguage, fill, isHello, switchLanguage, word } from "./words.js";

const NAMES = ["Alice", "Bob", "Carol", "Dave", "Erin", "Frank", "Grace", "Heidi"];
const EVERYONE = "*";

const $ = (id) => document.getElementById(id);
const phones = new Map(); // phone → its element
let config;
let published = 0;
let ticker = 0;

// ---------------------------------------------------------------------------- the gateway
async function ask(path, body) {
  const options = body && {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  const response = await fetch(path, options);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.message);
  return answer;
}

async function publish() {
  const select = $("target");
  const target = select.selectedOptions[0]?.textContent ?? "";
  const channel = select.value === EVERYONE ? "" : select.value;
  published += 1;
  try {
    const { offset } = await ask("/dev/publish", { channel, data: { text: `${$("text").value} ${published}` } });
    tell(offset ? word("sent", { target, offset }) : word("sent_plain", { target }));
  } catch (error) {
    tell(word("failed", { reason: error.message }), true);
  }
}

function tell(text, bad = false) {
  $("outcome").textContent = text;
  $("outcome").classList.toggle("bad", bad);
}

function tick(on) {
  clearInterval(ticker);
  if (on) {
    publish();
    ticker = setInterval(publish, 1000);
  }
}

// ---------------------------------------------------------------------------- phones
function addPhone() {
  const taken = new Set([...phones.keys()].map((phone) => phone.name));
  const name = NAMES.find((one) => !taken.has(one));
  if (!name) return;
  const element = $("phone").content.firstElementChild.cloneNode(true);
  const find = (selector) => element.querySelector(selector);
  find("h3").textContent = name;
  $("phones").append(element);
  const phone = new Phone(name, config, (changed) => phones.has(changed) && draw(changed));
  phones.set(phone, element);
  find(".background").onclick = () => phone.toBackground();
  find(".network").onclick = () => phone.setOffline(!phone.offline);
  find(".again").onclick = () => phone.signInAgain();
  find(".remove").onclick = () => removePhone(phone);
  fill(element);
  draw(phone);
  $("add").disabled = phones.size === NAMES.length;
}

function removePhone(phone) {
  const element = phones.get(phone);
  phones.delete(phone);
  element.remove();
  phone.remove();
  $("add").disabled = false;
  drawTargets();
}

function look(phone) {
  if (phone.background) return ["away", word("in_background", { seconds: phone.background })];
  if (phone.offline) return ["away", word("offline")];
  const kinds = { connected: "good", disconnected: "bad" };
  return [kinds[phone.state] ?? "wait", word(phone.state, { reason: phone.reason })];
}

function draw(phone) {
  const element = phones.get(phone);
  const find = (selector) => element.querySelector(selector);
  const [kind, state] = look(phone);
  find(".state").className = `state ${kind}`;
  // Only where it changed, or a screen reader says it again.
  if (find(".state span").textContent !== state) find(".state span").textContent = state;
  find(".openid").textContent = phone.openid || "…";
  find(".background").disabled = phone.unreachable;
  find(".network").textContent = word(phone.offline ? "back" : "lose");
  find(".network").setAttribute("aria-pressed", String(phone.offline));
  find(".again").hidden = phone.state !== "disconnected";
  find(".remove").setAttribute("aria-label", word("remove", { name: phone.name }));
  find(".messages").setAttribute("aria-label", word("messages", { name: phone.name }));
  drawMessages(phone, find(".messages"));
  drawTargets();
}

function drawMessages(phone, list) {
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  const drawn = new Set(phone.messages);
  for (const item of [...list.children]) if (!drawn.has(item.message)) item.remove();
  for (const message of phone.messages.slice(list.children.length)) list.append(itemOf(message));
  if (atEnd) list.scrollTop = list.scrollHeight;
}

function itemOf(message) {
  const item = document.createElement("li");
  item.message = message;
  if (message.kind === "note") {
    item.className = "note";
    item.textContent = word(message.name, message.values);
    return item;
  }
  const part = (name, text) => {
    const element = document.createElement(name);
    element.textContent = text;
    item.append(element);
    return element;
  };
  const { text } = message.data ?? {};
  item.classList.toggle("recovered", Boolean(message.recovered));
  part("p", typeof text === "string" ? text : JSON.stringify(message.data));
  part("small", message.channel ? shorten(message.channel) : word("to_all"));
  if (message.offset) part("small", `#${message.offset}`).className = "offset";
  if (message.recovered) part("small", word("recovered")).className = "mark";
  return item;
}

/** A personal channel is as long as an openid. */
function shorten(channel) {
  return channel.length > 14 ? `${channel.slice(0, 6)}…${channel.slice(-4)}` : channel;
}

// ---------------------------------------------------------------------------- desk
function drawTargets() {
  const select = $("target");
  const targets = [[config.channel, word("channel", { channel: config.channel })]];
  for (const phone of phones.keys()) {
    if (phone.personal) targets.push([phone.personal, word("personal", { name: phone.name })]);
  }
  targets.push([EVERYONE, word("everyone")]);
  if (JSON.stringify(targets) === select.dataset.drawn) return;
  const chosen = select.value;
  select.replaceChildren(...targets.map(([value, text]) => new Option(text, value)));
  if (targets.some(([value]) => value === chosen)) select.value = chosen;
  select.dataset.drawn = JSON.stringify(targets);
}

function drawWords() {
  document.documentElement.lang = currentLanguage() === "zh" ? "zh-CN" : "en";
  fill(document);
  $("language").textContent = word("language");
  if (!$("text").value || isHello($("text").value)) $("text").value = word("hello");
  tell("");
  for (const [phone, element] of phones) {
    element.querySelector(".messages").replaceChildren();
    draw(phone);
  }
}

function commandLine() {
  const body = JSON.stringify({ channel: config.channel, data: { text: "hello from a shell" } });
  return `curl ${config.api}/publish -H 'X-API-Key: ${config.api_key}' -d '${body}'`;
}

async function copy() {
  try {
    await navigator.clipboard.writeText($("command").textContent);
  } catch {
    // Only over https or on localhost; else the text is at least selected.
    getSelection().selectAllChildren($("command"));
    return;
  }
  $("copy").textContent = word("copied");
  setTimeout(() => ($("copy").textContent = word("copy")), 1500);
}

async function start() {
  try {
    config = await ask("/dev/config");
  } catch (error) {
    drawWords();
    tell(word("no_gateway", { reason: error.message }), true);
    return;
  }
  $("version").textContent = config.version;
  $("command").textContent = commandLine();
  drawTargets();
  drawWords();
  $("publish").onsubmit = (event) => {
    event.preventDefault();
    publish();
  };
  $("ticking").onchange = (event) => tick(event.target.checked);
  $("add").onclick = addPhone;
  $("copy").onclick = copy;
  $("language").onclick = () => {
    switchLanguage();
    drawWords();
    drawTargets();
  };
  addPhone();
  addPhone();
}

start();
