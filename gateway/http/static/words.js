// The words of the page, in English and Chinese. {name} is filled in.

const WORDS = {
  en: {
    language: "中文",
    tagline: "Simulated phones that sign in with a wx.login code, get what you publish, lose the socket, come back and miss nothing.",
    desk: "Publish",
    to: "To",
    text: "Text",
    publish: "Publish",
    ticking: "one every second",
    command: "The same from any language:",
    copy: "Copy",
    copied: "Copied",
    phones: "Phones",
    add: "Add a phone",
    remove: "Remove {name}",
    everyone: "every phone",
    channel: "channel {channel}",
    personal: "{name} alone",
    signing_in: "signing in …",
    connected: "connected",
    reconnecting: "connection lost, coming back …",
    in_background: "in the background, back in {seconds} s",
    offline: "no network",
    disconnected: "disconnected: {reason}",
    background: "Background for 6 s",
    lose: "Lose the network",
    back: "Network is back",
    again: "Sign in again",
    messages: "Messages of {name}",
    signed_in: "signed in with a new code",
    came_back: "back with the token, no new code",
    cut: "the socket is gone",
    caught_up: { one: "caught up: 1 message was missed and recovered", other: "caught up: {count} messages were missed and recovered" },
    nothing_missed: "caught up: nothing was missed",
    lost: "the history no longer has what was missed",
    recovered: "recovered",
    to_all: "to all",
    sent: "published to {target} at offset {offset}",
    sent_plain: "published to {target}",
    failed: "not published: {reason}",
    hello: "hello",
    no_gateway: "The gateway does not answer: {reason}",
  },
  zh: {
    language: "English",
    tagline: "模拟手机用 wx.login 的 code 登录，接收你发布的消息；断线、重连，一条不漏。",
    desk: "发布",
    to: "发给",
    text: "内容",
    publish: "发布",
    ticking: "每秒一条",
    command: "任何语言都可以这样发布：",
    copy: "复制",
    copied: "已复制",
    phones: "手机",
    add: "添加手机",
    remove: "移除 {name}",
    everyone: "所有手机",
    channel: "频道 {channel}",
    personal: "仅 {name}",
    signing_in: "正在登录…",
    connected: "已连接",
    reconnecting: "连接已断开，正在恢复…",
    in_background: "已切到后台，{seconds} 秒后返回",
    offline: "无网络",
    disconnected: "已断开：{reason}",
    background: "切到后台 6 秒",
    lose: "断开网络",
    back: "恢复网络",
    again: "重新登录",
    messages: "{name} 的消息",
    signed_in: "已用新的 code 登录",
    came_back: "已用令牌恢复，无需新的 code",
    cut: "连接中断",
    caught_up: { one: "已补齐：找回 1 条错过的消息", other: "已补齐：找回 {count} 条错过的消息" },
    nothing_missed: "已补齐：没有错过消息",
    lost: "错过的消息已不在历史中",
    recovered: "补收",
    to_all: "全体",
    sent: "已发布到 {target}，偏移量 {offset}",
    sent_plain: "已发布到 {target}",
    failed: "发布失败：{reason}",
    hello: "你好",
    no_gateway: "网关没有响应：{reason}",
  },
};

const KEY = "wx-gateway-language";

function remembered() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // storage may be forbidden
  }
}

let language = remembered() ?? (navigator.language.startsWith("zh") ? "zh" : "en");
if (!(language in WORDS)) language = "en";

/** The word in the chosen language; `values.count` picks between one and many. */
export function word(name, values = {}) {
  let text = WORDS[language][name];
  if (typeof text === "object") text = values.count === 1 ? text.one : text.other;
  return text.replace(/\{(\w+)\}/g, (_, key) => values[key]);
}

/** Fill in every element that names its word. */
export function fill(root) {
  for (const element of root.querySelectorAll("[data-word]")) element.textContent = word(element.dataset.word);
}

/** Whether it is still the text that the page itself proposed, in any language. */
export function isHello(text) {
  return Object.values(WORDS).some((words) => words.hello === text);
}

export function currentLanguage() {
  return language;
}

export function switchLanguage() {
  language = language === "en" ? "zh" : "en";
  try {
    localStorage.setItem(KEY, language);
  } catch {
    // then it lasts until the page is closed
  }
}
