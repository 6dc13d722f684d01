// An order board: what any phone orders appears on all of them, and a tap moves an order on.
const { apply, next } = require('../../lib/orders');
const { follow } = require('../../lib/status');

const MENU = ['龙井茶', '拿铁', '桂花糕', '豆浆'];

Page({
  data: {
    state: 'connecting',
    stateText: '',
    orders: [],
    stateNames: { new: '新订单', making: '制作中', done: '已完成' },
  },

  onLoad() {
    const { gateway } = getApp();
    this.gateway = gateway;
    this.unfollow = follow(gateway, this);
    this.orders = gateway.subscribe('orders', {
      publication: ({ data, recovered }) => this.show(data, recovered),
      subscribed: ({ wasRecovering }) => wasRecovering || this.load(),
      gap: () => this.load(), // away for longer than the history is: start from what there is
      error: ({ message }) => wx.showToast({ title: message, icon: 'none' }),
    });
  },

  onUnload() {
    this.orders.unsubscribe();
    this.unfollow();
  },

  /** What was ordered before this phone came. */
  load() {
    this.orders.history({ limit: 100 }).then(
      ({ publications }) => publications.forEach(({ data }) => this.show(data, false)),
      ({ message }) => wx.showToast({ title: message, icon: 'none' }),
    );
  },

  show(message, recovered) {
    const order = recovered ? Object.assign({ recovered }, message) : message;
    this.setData({ orders: apply(this.data.orders, order) });
  },

  place() {
    const id = 'o' + Date.now().toString(36) + Math.random().toString(36).slice(2, 6);
    const item = MENU[Math.floor(Math.random() * MENU.length)];
    this.say({ id, item, state: 'new' });
  },

  advance({ currentTarget }) {
    const order = this.data.orders.find(({ id }) => id === currentTarget.dataset.id);
    const state = next(order.state);
    if (state) this.say({ id: order.id, item: order.item, state });
  },

  /** Everybody hears it, this phone too: the board shows what was published and nothing else. */
  say(order) {
    this.orders.publish(order).catch(({ message }) => wx.showToast({ title: message, icon: 'none' }));
  },
});
