// The line on top of every page: where the connection is.

const WORDS = {
  connecting: '正在连接…',
  connected: '已连接',
  background: '在后台',
  disconnected: '已断开',
};

/** Keeps `state` and `stateText` of a page; call what it returns when the page is closed. */
function follow(gateway, page) {
  const show = ({ state }) => page.setData({ state, stateText: WORDS[state] });
  show(gateway);
  gateway.on('state', show);
  return () => gateway.off('state', show);
}

module.exports = { follow };
