// Compiled, never run: what this library asks of wx is what WeChat's own types say that wx has, and an app that is
// written with them fits.

import { createGateway, GatewayError } from '../../wx-gateway';
import type { Gateway, Platform, Publication } from '../../wx-gateway';

export const platform: Platform = wx;

/** What is called, and what is read of the answers, as in the source. */
export function used(): void {
  const task: WechatMiniprogram.SocketTask = wx.connectSocket({ url: 'wss://x', timeout: 5000, success() {}, fail() {}, complete() {} });
  task.onOpen(() => {});
  task.onMessage(({ data }) => typeof data === 'string');
  task.onClose(({ code, reason }) => code + reason);
  task.onError(({ errMsg }) => errMsg);
  task.send({ data: '{}', success() {}, fail() {} });
  task.close({ code: 1000, reason: '', success() {}, fail() {} });
  wx.request({ url: 'x', method: 'POST', data: new ArrayBuffer(1), header: { a: 'b' }, success: ({ statusCode, data, header }) => [statusCode, data, header], fail: ({ errMsg }) => errMsg });
  const upload = wx.uploadFile({ url: 'x', filePath: 'x', name: 'file', header: {}, formData: {}, success: ({ statusCode, data }) => data.length + statusCode, fail: ({ errMsg }) => errMsg });
  upload.onProgressUpdate(({ progress, totalBytesSent, totalBytesExpectedToSend }) => progress + totalBytesSent + totalBytesExpectedToSend);
  upload.abort();
  const download = wx.downloadFile({ url: 'x', header: {}, filePath: 'x', success: ({ statusCode, tempFilePath, filePath }) => tempFilePath + filePath + statusCode });
  download.onProgressUpdate(({ totalBytesWritten, totalBytesExpectedToWrite }) => totalBytesWritten + totalBytesExpectedToWrite);
  download.abort();
  wx.login({ success: ({ code }) => code.length, fail: ({ errMsg }) => errMsg });
  wx.checkSession({ success() {}, fail() {} });
  wx.getUserInfo({ withCredentials: true, success: ({ rawData, signature, encryptedData, iv }) => rawData + signature + encryptedData + iv });
  wx.requestSubscribeMessage({ tmplIds: ['a'], success: (result) => result['a'] === 'accept', fail: ({ errCode, errMsg }) => errCode + errMsg });
  wx.setStorageSync('a', { b: 1 });
  wx.removeStorageSync(String(wx.getStorageSync('a')));
  const files = wx.getFileSystemManager();
  files.getFileInfo({ filePath: 'x', success: ({ size }) => size });
  files.readFile({ filePath: 'x', position: 0, length: 1, success: ({ data }) => data });
  wx.onAppShow(() => {});
  wx.onAppHide(() => {});
  wx.onNetworkStatusChange(({ isConnected, networkType }) => isConnected && networkType);
  wx.onSocketClose(() => {});
}

interface Order {
  id: string;
  state: 'paid' | 'shipped';
}

App<{ gateway: Gateway }>({
  gateway: createGateway({ url: 'wss://api.example.com', acknowledge: true }),
  onLaunch() {
    this.gateway.connect({ fail: (error) => wx.showToast({ title: error.message, icon: 'none' }) });
  },
});

Page({
  data: { orders: [] as Order[] },
  onLoad() {
    const { gateway } = getApp<{ gateway: Gateway }>();
    gateway.subscribe<Order>('orders', (publication: Publication<Order>) => this.setData({ orders: [...this.data.orders, publication.data] }));
    gateway.on('disconnected', (error) => console.log(error.code));
  },
  phone(event: WechatMiniprogram.ButtonGetPhoneNumber) {
    const { gateway } = getApp<{ gateway: Gateway }>();
    gateway.getPhoneNumber({ ...event, success: ({ phoneNumber }) => console.log(phoneNumber) }).catch((error: GatewayError) => error.temporary);
  },
});
