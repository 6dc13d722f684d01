// A chat room with pictures: text is published by the phone, a picture by the gateway once it is uploaded.
const { follow } = require('../../lib/status');

const CHANNEL = 'chat:lobby';
const KEPT = 100;

Page({
  data: { state: 'connecting', stateText: '', messages: [], draft: '', people: 0, progress: 0 },

  onLoad() {
    const { gateway } = getApp();
    this.gateway = gateway;
    this.unfollow = follow(gateway, this);
    this.room = gateway.subscribe(CHANNEL, {
      publication: (publication) => this.show(publication),
      subscribed: ({ wasRecovering }) => {
        if (!wasRecovering) this.load();
        this.count();
      },
      gap: () => this.load(),
      join: () => this.count(),
      leave: () => this.count(),
      error: (error) => this.complain(error),
    });
  },

  onUnload() {
    this.room.unsubscribe();
    this.unfollow();
  },

  load() {
    this.setData({ messages: [] });
    this.room.history({ limit: 50 }).then(
      ({ publications }) => publications.forEach((publication) => this.show(publication)),
      (error) => this.complain(error),
    );
  },

  count() {
    this.gateway.presenceStats(CHANNEL).then(
      ({ numUsers }) => this.setData({ people: numUsers }),
      () => {}, // the room works without the number, and the next join asks again
    );
  },

  show({ data, info, offset }) {
    const key = String(offset);
    if (this.data.messages.some((message) => message.key === key)) return; // in the history, and live
    const user = (info && info.user) || '';
    const mine = user === this.gateway.openid;
    const message = { key, mine, name: user.slice(0, 8), text: typeof data.text === 'string' ? data.text : '' };
    this.setData({ messages: this.data.messages.concat([message]).slice(-KEPT) });
    if (data.type === 'file' && data.file) this.fetch(key, data.file);
    wx.pageScrollTo({ scrollTop: 1e6, duration: 200 });
  },

  /** A picture that only members of the room may read: it comes with this phone's token, not by its url. */
  fetch(key, file) {
    this.gateway.download({ id: file.id, width: 800 }).then(
      ({ tempFilePath }) => {
        const place = (message) => (message.key === key ? Object.assign({}, message, { picture: tempFilePath }) : message);
        this.setData({ messages: this.data.messages.map(place) });
      },
      (error) => this.complain(error),
    );
  },

  typed({ detail }) {
    this.setData({ draft: detail.value });
  },

  say() {
    const text = this.data.draft.trim();
    if (!text) return;
    this.setData({ draft: '' });
    this.room.publish({ text }).catch((error) => {
      this.setData({ draft: text }); // nothing that was typed is lost
      this.complain(error);
    });
  },

  picture() {
    wx.chooseMedia({
      count: 1,
      mediaType: ['image'],
      sizeType: ['compressed'],
      success: ({ tempFiles }) => this.send(tempFiles[0].tempFilePath),
    });
  },

  send(filePath) {
    const onProgress = ({ progress }) => this.setData({ progress });
    const done = () => this.setData({ progress: 0 });
    this.gateway
      .upload({ filePath, channel: CHANNEL, onProgress })
      .catch((error) => this.complain(error))
      .then(done);
  },

  open({ currentTarget }) {
    wx.previewImage({ urls: [currentTarget.dataset.src] });
  },

  complain({ message }) {
    wx.showToast({ title: message, icon: 'none' });
  },
});
