import { useLaunch } from '@tarojs/taro';
import Taro from '@tarojs/taro';
import type { PropsWithChildren } from 'react';

import { gateway } from './gateway';

export default function App({ children }: PropsWithChildren) {
  useLaunch(() => {
    gateway.on('disconnected', ({ message }) => Taro.showToast({ title: message, icon: 'none' }));
    gateway.connect();
  });
  return children;
}
