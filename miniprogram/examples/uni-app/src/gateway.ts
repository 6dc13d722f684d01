import { createGateway } from 'wx-gateway-client';

/** One for all pages. On a phone: wss:// and your own domain; without httpUrl the same by https. */
export const gateway = createGateway({
  url: 'ws://127.0.0.1:8000',
  httpUrl: 'http://127.0.0.1:8001',
  wx: uni,
});
