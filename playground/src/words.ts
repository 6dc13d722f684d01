// The words of the page, in English and Chinese. {name} is filled in; with {count}, `one` is for exactly one.

import { signal } from '@preact/signals';
import { read, write } from './storage';

type Text = string | { one: string; other: string };

const en = {
  // the frame
  language: '中文', language_label: '切换到中文',
  theme_light: 'Light', theme_dark: 'Dark', theme_auto: 'As the system',
  theme_label: 'Colours: {theme}',
  phones: 'Phones', live: 'Live', connections: 'Connections', desk: 'Desk',
  views: 'Views', log_out: 'Log out',
  no_gateway: 'The gateway does not answer. Trying again …', gateway_error: 'The gateway answers with an error: {reason}. Trying again …',
  unanswered: 'the gateway does not answer',
  // login
  login_title: 'Dashboard', login_text: 'The password is admin.password of gateway.toml.',
  password: 'Password', log_in: 'Log in', wrong_password: 'That is not the password.',
  too_many: 'Too many attempts. Try again in {seconds} s.', login_failed: 'It did not work: {reason}',
  off_title: 'The dashboard is off', off_text: 'Give it a password in gateway.toml and restart the gateway (or send it SIGHUP):',
  off_hint: 'Make one with', off_env: 'The environment variable GATEWAY_ADMIN__PASSWORD does the same.',
  // desk
  publish: 'Publish', to: 'To', text: 'Text or JSON', data: 'Data (JSON)', ticking: 'one every second',
  to_channel: 'a channel', to_user: 'one user', to_all: 'everybody', channel: 'Channel', user: 'User',
  channel_named: 'channel {channel}', alone: '{name} alone', everyone: 'every phone',
  sent_at: 'Published to {target} at offset {offset}', sent: 'Published to {target}', failed: 'Not published: {reason}',
  hello: 'hello', rpc: 'Call a handler', from: 'From', method: 'Method', call: 'Call',
  rpc_error: 'Error {code}: {message}',
  rpc_hint: 'Handlers to try are in the shop:', rpc_none: 'this gateway has no handlers', rpc_nobody: 'End it and start the shop instead:',
  shell: 'From a shell', copy: 'Copy', copied: 'Copied', no_phone: 'No phone is signed in.',
  // phones
  add: 'Add a phone', add_text: 'It signs in with a code of the stand-in for WeChat', remove: 'Remove {name}',
  starting: 'starting …', signing_in: 'signing in …', connected: 'connected', reconnecting: 'coming back …', hidden: 'in the background',
  in_background: 'background, back in {seconds} s', offline: 'no network', killed: 'not running',
  disconnected: 'disconnected: {reason}',
  background: 'Background 6 s', lose: 'Lose network', back: 'Network back', switch_wifi: 'Switch Wi-Fi', slow: 'Slow 3G', fast: 'Fast again',
  kill: 'Kill', open: 'Open again', again: 'Sign in again',
  messages: 'Messages', wire: 'Wire', messages_of: 'Messages of {name}', wire_of: 'What goes over the wire of {name}',
  controls_of: 'What happens to {name}', say: 'Say something', send: 'Send', picture: 'Send a picture', say_of: 'Message from {name}',
  nothing_yet: 'Nothing yet. Publish something.', wire_empty: 'Nothing has been sent yet.',
  signed_in: 'signed in with a new code', came_back: 'back with the token, no new code', cut: 'the connection is gone',
  caught_up: { one: '1 message was missed and recovered', other: '{count} messages were missed and recovered' } as Text,
  nothing_missed: 'nothing was missed', lost: 'the history no longer has what was missed',
  recovered: 'recovered', for_all: 'to all', offset: 'offset {offset}',
  was_killed: 'the app was killed', was_opened: 'the app was opened again', uploading: 'sending the picture, {progress} %', uploaded: '{name} has arrived', upload_failed: 'the picture was not sent: {reason}',
  not_sent: 'not sent: {reason}', picture_alt: 'A picture from {name}', wifi: 'Wi-Fi', wifi2: 'other Wi-Fi', '3g': '3G', none: 'no network',
  // the wire
  w_open: 'opens a socket', w_opened: 'the socket is open', w_close: 'closes the socket', w_closed: 'the socket is closed',
  w_cut: 'the socket dies without a word', w_refused: 'the socket cannot be opened',
  w_connect_code: 'signs in with a code of wx.login', w_connect_token: 'signs in with its token', w_connect: 'asks to be let in',
  w_since: 'has {channel} up to #{offset}', w_subscribe: 'asks to subscribe to {channel}', w_resubscribe: 'asks for {channel} after #{offset}',
  w_unsubscribe: 'ends its subscription to {channel}', w_publish: 'publishes to {channel}', w_rpc: 'calls {method}', w_send: 'sends a message without answer',
  w_presence: 'asks who is in {channel}', w_presence_stats: 'asks how many are in {channel}', w_history: 'asks for the history of {channel}',
  w_refresh: 'brings a fresh token', w_sub_refresh: 'brings a fresh token for {channel}', w_pong: 'answers: still here',
  w_ping: 'asks: still there?', w_let_in: 'lets it in', w_let_in_as: 'lets it in and gives it a token',
  w_subscribed: 'subscribed to {channel}, which is at #{offset}', w_subscribed_plain: 'subscribed to {channel}',
  w_with_missed: { one: 'brings 1 missed message', other: 'brings {count} missed messages' } as Text, w_unrecovered: 'too late: what was missed is gone',
  w_answer: 'answers {method}', w_error: 'says no: {message} ({code})', w_pub: 'message #{offset} of {channel}', w_pub_plain: 'a message of {channel}',
  w_message: 'a message for this phone', w_join: '{user} comes to {channel}', w_leave: '{user} leaves {channel}',
  w_unsubscribed: 'ends the subscription to {channel}: {reason}', w_disconnect: 'is about to close: {reason} ({code})', w_pushed: 'something new: {kinds}',
  w_between: '; ', w_dropped: 'lost on the way', w_upload: 'uploads a picture, {size}', w_uploaded: 'the upload is answered with {status}', w_http: '{method} {path}', w_http_answer: 'answered with {status}',
  w_login: 'wx.login gives a code', w_times: '{count} times', w_out: 'phone', w_in: 'gateway', w_device: 'device',
  // live
  all_nodes: 'All nodes', nodes: 'Nodes', node: 'Node', uptime: 'Up', lag: 'Loop lag',
  t_connections: 'Connections', t_connections_sub: '{users} users, {subscriptions} subscriptions',
  t_in: 'In', t_in_sub: 'messages a second from clients', t_out: 'Out', t_out_sub: 'messages a second to clients',
  t_latency: 'Delivery p99', t_latency_sub: 'p50 {p50}', t_no_latency: 'nothing was delivered lately',
  t_waiting: 'Waiting', t_waiting_sub: 'bytes that clients have not read', t_errors: 'Errors', t_errors_sub: 'a minute, of all kinds',
  c_connections: 'Connections', c_traffic: 'Messages a second', c_latency: 'Delivery latency', c_waiting: 'Bytes waiting', c_errors: 'Errors and closes a minute, by code', c_lag: 'Event loop lag',
  s_in: 'in', s_out: 'out', s_none: 'no errors', missing_nodes: { one: '1 node did not answer: {nodes}', other: '{count} nodes did not answer: {nodes}' } as Text,
  draining: 'leaving', alive: 'serving', since_open: 'The charts begin when the page was opened.', collecting: 'Collecting …',
  slow_clients: 'Slowest clients', no_slow: 'Every client reads as fast as it is sent to.', figure: 'Figures', chart_of: '{title}: {values}',
  // connections
  search: 'Search', search_hint: 'User, client or IP', slow_first: 'Slow first', client: 'Client', appid: 'App', ip: 'IP', sdk: 'SDK', since: 'Connected for', channels: 'Channels',
  waiting: 'Waiting', transport: 'Transport', anonymous: 'anonymous', found: { one: '1 connection', other: '{count} connections' } as Text, none_found: 'No connection matches.', more: 'Show more',
  blocked_users: 'Blocked users', blocked_found: { one: '1 user', other: '{count} users' } as Text, blocked_since: 'since {day}', blocked_until: 'until {day}',
  blocked_for_good: 'until unblocked', unblock_user: 'Unblock {user}', gone: 'This connection is closed.',
  close: 'Close', details_of: 'Connection of {user}',
  disconnect: 'Disconnect', block: 'Block user', unblock: 'Unblock', block_for: 'Block for', hour: '1 hour', day: '1 day', forever: 'until unblocked',
  done_disconnect: 'Disconnected; the client comes back by itself.', done_block: '{user} is blocked.', done_unblock: '{user} is no longer blocked.', not_done: 'That did not work: {reason}',
  trace: 'Live trace', trace_start: 'Start', trace_stop: 'Stop', payloads: 'with payloads', trace_empty: 'Waits for the next message of this client.', trace_off: 'What this client sends and gets, as it happens.', trace_ended: 'The trace has ended.',
  sure_block: 'Block {user}? They are disconnected and cannot come back.', cancel: 'Cancel',
  // units
  u_s: '{n} s', u_m: '{n} min', u_h: '{n} h', u_d: '{n} d',
};

export type Word = keyof typeof en;

const zh: Record<Word, Text> = {
  language: 'English', language_label: 'Switch to English',
  theme_light: '浅色', theme_dark: '深色', theme_auto: '跟随系统',
  theme_label: '配色：{theme}',
  phones: '手机', live: '实时', connections: '连接', desk: '控制',
  views: '视图', log_out: '退出登录',
  no_gateway: '网关没有响应，正在重试…', gateway_error: '网关返回错误：{reason}。正在重试…',
  unanswered: '网关没有响应',
  login_title: '控制台', login_text: '密码是 gateway.toml 中的 admin.password。',
  password: '密码', log_in: '登录', wrong_password: '密码不对。',
  too_many: '尝试次数过多，请 {seconds} 秒后再试。', login_failed: '登录失败：{reason}',
  off_title: '控制台未开启', off_text: '在 gateway.toml 里设置密码，然后重启网关（或发送 SIGHUP）：',
  off_hint: '生成一个密码', off_env: '也可以用环境变量 GATEWAY_ADMIN__PASSWORD。',
  publish: '发布', to: '发给', text: '文本或 JSON', data: '数据（JSON）', ticking: '每秒一条',
  to_channel: '频道', to_user: '单个用户', to_all: '所有人', channel: '频道', user: '用户',
  channel_named: '频道 {channel}', alone: '{name} 一人', everyone: '所有手机',
  sent_at: '已发布到{target}，偏移量 {offset}', sent: '已发布到{target}', failed: '发布失败：{reason}',
  hello: '你好', rpc: '调用处理函数', from: '来自', method: '方法', call: '调用',
  rpc_error: '错误 {code}：{message}',
  rpc_hint: '商店示例里有可以试的处理函数：', rpc_none: '这个网关没有处理函数', rpc_nobody: '请停掉它，改为启动商店示例：',
  shell: '在终端里', copy: '复制', copied: '已复制', no_phone: '还没有手机登录。',
  add: '添加手机', add_text: '用模拟微信的 code 登录', remove: '移除 {name}',
  starting: '正在启动…', signing_in: '正在登录…', connected: '已连接', reconnecting: '正在恢复…', hidden: '在后台',
  in_background: '在后台，{seconds} 秒后返回', offline: '无网络', killed: '未运行',
  disconnected: '已断开：{reason}',
  background: '后台 6 秒', lose: '断开网络', back: '恢复网络', switch_wifi: '切换 Wi-Fi', slow: '慢速 3G', fast: '恢复网速',
  kill: '杀掉', open: '重新打开', again: '重新登录',
  messages: '消息', wire: '线路', messages_of: '{name} 的消息', wire_of: '{name} 的线路内容',
  controls_of: '{name} 会遇到什么', say: '说点什么', send: '发送', picture: '发图片', say_of: '{name} 要说的话',
  nothing_yet: '还没有消息，发布一条试试。', wire_empty: '还没有发送任何内容。',
  signed_in: '已用新的 code 登录', came_back: '已用令牌恢复，无需新的 code', cut: '连接中断',
  caught_up: { one: '找回 1 条错过的消息', other: '找回 {count} 条错过的消息' },
  nothing_missed: '没有错过消息', lost: '错过的消息已不在历史中',
  recovered: '补收', for_all: '全体', offset: '偏移量 {offset}',
  was_killed: '小程序被杀掉', was_opened: '小程序重新打开', uploading: '正在发送图片，{progress}%', uploaded: '{name} 已上传', upload_failed: '图片发送失败：{reason}',
  not_sent: '发送失败：{reason}', picture_alt: '{name} 发来的图片', wifi: 'Wi-Fi', wifi2: '另一个 Wi-Fi', '3g': '3G', none: '无网络',
  w_open: '打开连接', w_opened: '连接已打开', w_close: '关闭连接', w_closed: '连接已关闭',
  w_cut: '连接无声无息地断了', w_refused: '连接打不开',
  w_connect_code: '用 wx.login 的 code 登录', w_connect_token: '用令牌登录', w_connect: '请求接入',
  w_since: '{channel} 已收到 #{offset}', w_subscribe: '请求订阅 {channel}', w_resubscribe: '请求 {channel} 中 #{offset} 之后的消息',
  w_unsubscribe: '取消订阅 {channel}', w_publish: '发布到 {channel}', w_rpc: '调用 {method}', w_send: '发送一条不需要回复的消息',
  w_presence: '询问谁在 {channel}', w_presence_stats: '询问 {channel} 有多少人', w_history: '询问 {channel} 的历史',
  w_refresh: '带来新令牌', w_sub_refresh: '为 {channel} 带来新令牌', w_pong: '回答：还在',
  w_ping: '询问：还在吗？', w_let_in: '同意接入', w_let_in_as: '同意接入并发给令牌',
  w_subscribed: '已订阅 {channel}，当前位置 #{offset}', w_subscribed_plain: '已订阅 {channel}',
  w_with_missed: { one: '带来 1 条错过的消息', other: '带来 {count} 条错过的消息' }, w_unrecovered: '太迟了：错过的消息已不在',
  w_answer: '回复 {method}', w_error: '拒绝：{message}（{code}）', w_pub: '{channel} 的消息 #{offset}', w_pub_plain: '{channel} 的一条消息',
  w_message: '发给这部手机的消息', w_join: '{user} 进入 {channel}', w_leave: '{user} 离开 {channel}',
  w_unsubscribed: '结束 {channel} 的订阅：{reason}', w_disconnect: '即将关闭：{reason}（{code}）', w_pushed: '新的内容：{kinds}',
  w_between: '；', w_dropped: '在路上丢了', w_upload: '上传图片，{size}', w_uploaded: '上传得到回复 {status}', w_http: '{method} {path}', w_http_answer: '得到回复 {status}',
  w_login: 'wx.login 给出 code', w_times: '{count} 次', w_out: '手机', w_in: '网关', w_device: '设备',
  all_nodes: '所有节点', nodes: '节点', node: '节点', uptime: '已运行', lag: '循环延迟',
  t_connections: '连接', t_connections_sub: '{users} 个用户，{subscriptions} 个订阅',
  t_in: '收到', t_in_sub: '每秒来自客户端的消息', t_out: '发出', t_out_sub: '每秒发给客户端的消息',
  t_latency: '投递 p99', t_latency_sub: 'p50 {p50}', t_no_latency: '最近没有投递',
  t_waiting: '等待', t_waiting_sub: '客户端还没有读的字节', t_errors: '错误', t_errors_sub: '每分钟，所有种类',
  c_connections: '连接', c_traffic: '每秒消息', c_latency: '投递延迟', c_waiting: '等待的字节', c_errors: '每分钟的错误与断开，按代码', c_lag: '事件循环延迟',
  s_in: '收到', s_out: '发出', s_none: '没有错误', missing_nodes: { one: '1 个节点没有回答：{nodes}', other: '{count} 个节点没有回答：{nodes}' },
  draining: '正在退出', alive: '服务中', since_open: '图表从打开页面时开始。', collecting: '正在收集…',
  slow_clients: '最慢的客户端', no_slow: '每个客户端都跟得上发送速度。', figure: '数字', chart_of: '{title}：{values}',
  search: '搜索', search_hint: '用户、客户端或 IP', slow_first: '慢的在前', client: '客户端', appid: '应用', ip: 'IP', sdk: 'SDK', since: '已连接', channels: '频道',
  waiting: '等待', transport: '传输', anonymous: '匿名', found: { one: '1 个连接', other: '{count} 个连接' }, none_found: '没有符合的连接。', more: '显示更多',
  blocked_users: '已封禁的用户', blocked_found: { one: '1 个用户', other: '{count} 个用户' }, blocked_since: '{day} 起', blocked_until: '到 {day}',
  blocked_for_good: '直到解除', unblock_user: '解除封禁 {user}', gone: '这个连接已断开。',
  close: '关闭', details_of: '{user} 的连接',
  disconnect: '断开', block: '封禁用户', unblock: '解除封禁', block_for: '封禁时长', hour: '1 小时', day: '1 天', forever: '直到解除',
  done_disconnect: '已断开；客户端会自己重连。', done_block: '{user} 已封禁。', done_unblock: '{user} 已解除封禁。', not_done: '没有成功：{reason}',
  trace: '实时跟踪', trace_start: '开始', trace_stop: '停止', payloads: '包含内容', trace_empty: '等待这个客户端的下一条消息。', trace_off: '这个客户端此刻发送和收到的内容。', trace_ended: '跟踪已结束。',
  sure_block: '封禁 {user}？会断开连接，并且不能再连上。', cancel: '取消',
  u_s: '{n} 秒', u_m: '{n} 分', u_h: '{n} 小时', u_d: '{n} 天',
};

export type Language = 'en' | 'zh';

const remembered = read('language');
export const language = signal<Language>(
  remembered === 'en' || remembered === 'zh' ? remembered : navigator.language.startsWith('zh') ? 'zh' : 'en',
);

/** The word in the chosen language; whoever draws it is drawn again when the language changes. */
export function word(name: Word, values: Record<string, string | number> = {}): string {
  const text: Text = (language.value === 'zh' ? zh : en)[name];
  const chosen = typeof text === 'string' ? text : values.count === 1 ? text.one : text.other;
  return chosen.replace(/\{(\w+)\}/g, (_, key: string) => String(values[key] ?? ''));
}

/** Whether it is still the text that the page itself proposed, in any language. */
export function isHello(text: string): boolean {
  return text === en.hello || text === zh.hello;
}

export function switchLanguage(): void {
  language.value = language.value === 'en' ? 'zh' : 'en';
  write('language', language.value);
}

/** For dates and numbers. */
export function locale(): string {
  return language.value === 'zh' ? 'zh-CN' : 'en-GB';
}
