/** @type {{ gateway: import('wx-gateway-client').Gateway }} */
const { gateway } = getApp();

/** @typedef {{ text: string, offset?: number, recovered: boolean }} Message */

Page({
  data: { state: /** @type {string} */ (gateway.state), messages: /** @type {Message[]} */ ([]) },
  stop() {},

  onLoad() {
    const listen = (/** @type {{ state: string }} */ { state }) => this.setData({ state });
    gateway.on('state', listen);
    const news = gateway.subscribe('news', {
      publication: ({ data, offset, recovered }) => this.add({ text: data.text, offset, recovered }),
      gap: () => this.setData({ messages: [] }), // away too long: load your state from your backend here
    });
    this.stop = () => {
      gateway.off('state', listen);
      news.unsubscribe();
    };
  },

  onUnload() {
    this.stop();
  },

  /** @param {Message} message */
  add(message) {
    this.setData({ messages: [message, ...this.data.messages].slice(0, 50) });
  },

  send() {
    gateway.publish({ channel: 'news', data: { text: 'hello' }, fail: this.complain });
  },

  picture() {
    wx.chooseMedia({
      count: 1,
      mediaType: ['image'],
      success: ({ tempFiles }) => {
        gateway.upload({
          filePath: tempFiles[0].tempFilePath,
          visibility: 'signed_in',
          onProgress: ({ progress }) => this.setData({ state: `${progress} %` }),
          success: ({ url }) => this.add({ text: url, recovered: false }),
          fail: this.complain,
        });
      },
    });
  },

  /** @param {{ message: string }} error */
  complain({ message }) {
    wx.showModal({ content: message, showCancel: false });
  },
});
