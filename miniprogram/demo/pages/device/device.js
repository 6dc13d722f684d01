// A sensor and its chart: one phone publishes a reading a second, every phone draws the last minute.
const { push, points, range } = require('../../lib/series');
const { follow } = require('../../lib/status');

const CHANNEL = 'device-greenhouse-1';

Page({
  data: { state: 'connecting', stateText: '', latest: '–', sensing: false },

  onLoad() {
    const { gateway } = getApp();
    this.readings = [];
    this.unfollow = follow(gateway, this);
    this.device = gateway.subscribe(CHANNEL, {
      publication: ({ data }) => this.show(data.celsius),
      subscribed: ({ wasRecovering }) => wasRecovering || this.load(),
      gap: () => this.load(),
    });
  },

  onReady() {
    wx.createSelectorQuery()
      .select('#chart')
      .fields({ node: true, size: true })
      .exec(([found]) => {
        if (!found) return;
        const ratio = wx.getWindowInfo().pixelRatio;
        found.node.width = found.width * ratio;
        found.node.height = found.height * ratio;
        this.canvas = found;
        this.pen = found.node.getContext('2d');
        this.pen.scale(ratio, ratio);
        this.draw();
      });
  },

  onUnload() {
    clearInterval(this.timer);
    this.device.unsubscribe();
    this.unfollow();
  },

  load() {
    this.device.history({ limit: 60 }).then(
      ({ publications }) => {
        this.readings = [];
        publications.forEach(({ data }) => this.show(data.celsius));
      },
      ({ message }) => wx.showToast({ title: message, icon: 'none' }),
    );
  },

  show(celsius) {
    this.readings = push(this.readings, celsius);
    if (!this.readings.length) return;
    this.setData({ latest: this.readings[this.readings.length - 1].toFixed(1) });
    this.draw();
  },

  draw() {
    const { pen, canvas } = this;
    if (!pen) return;
    const { low, high } = range(this.readings);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.fillStyle = '#7a838b';
    pen.font = '11px sans-serif';
    pen.fillText(high + '°', 0, 12);
    pen.fillText(low + '°', 0, canvas.height - 4);
    pen.strokeStyle = '#07a35a';
    pen.lineWidth = 2;
    pen.lineJoin = 'round';
    pen.beginPath();
    points(this.readings, canvas.width, canvas.height).forEach(({ x, y }, index) =>
      index ? pen.lineTo(x, y) : pen.moveTo(x, y),
    );
    pen.stroke();
  },

  sense({ detail }) {
    this.setData({ sensing: detail.value });
    clearInterval(this.timer);
    if (detail.value) this.timer = setInterval(() => this.measure(), 1000);
  },

  measure() {
    const seconds = Date.now() / 1000;
    const celsius = Math.round((24 + 3 * Math.sin(seconds / 17) + 0.6 * (Math.random() - 0.5)) * 10) / 10;
    // A reading is worth nothing later, so it does not wait for a connection.
    getApp().gateway.publish(CHANNEL, { celsius }, { offline: 'refuse' }).catch(() => {});
  },
});
