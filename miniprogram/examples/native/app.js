const { createGateway } = require('wx-gateway-client');

App({
  // One for all pages. On a phone: wss:// and your own domain; without httpUrl the same by https.
  gateway: createGateway({ url: 'ws://127.0.0.1:8000', httpUrl: 'http://127.0.0.1:8001' }),

  onLaunch() {
    this.gateway.on('disconnected', ({ message }) => wx.showToast({ title: message, icon: 'none' }));
    this.gateway.connect();
  },
});
