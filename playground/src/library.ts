// The phones' client library, the same that a mini-program has.

export * from 'wx-gateway-client';
