const { createGateway } = require('./lib/wx-gateway');
const { sandboxed } = require('./lib/sandbox');
const config = require('./config');

App({
  onLaunch() {
    // One connection for all pages: WeChat allows five, and a phone needs one.
    this.gateway = createGateway({
      url: config.url,
      httpUrl: config.httpUrl,
      wx: config.sandbox ? sandboxed(wx) : wx,
    });
    this.gateway.on('error', (error) => console.warn(error.message));
    this.gateway.connect({ fail: (error) => wx.showModal({ title: '连不上网关', content: error.message }) });
  },
});
