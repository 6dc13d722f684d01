import { Button, Text, View } from '@tarojs/components';
import Taro from '@tarojs/taro';
import { useEffect, useState } from 'react';
import type { State } from 'wx-gateway-client';

import { gateway } from '../../gateway';

interface Message {
  text: string;
  recovered: boolean;
}

export default function Index() {
  const [state, setState] = useState<State>(gateway.state);
  const [messages, setMessages] = useState<Message[]>([]);

  useEffect(() => {
    const listen = (change: { state: State }) => setState(change.state);
    gateway.on('state', listen);
    const news = gateway.subscribe<{ text: string }>('news', {
      publication: ({ data, recovered }) => setMessages((before) => [{ text: data.text, recovered }, ...before]),
      gap: () => setMessages([]), // away too long: load your state from your backend here
    });
    return () => {
      gateway.off('state', listen);
      news.unsubscribe();
    };
  }, []);

  const complain = ({ message }: { message: string }) => Taro.showModal({ content: message, showCancel: false });

  return (
    <View>
      <Text>{state}</Text>
      {messages.map(({ text, recovered }, index) => (
        <View key={index}>{recovered ? `${text} ↺` : text}</View>
      ))}
      <Button onClick={() => gateway.publish({ channel: 'news', data: { text: 'hello' }, fail: complain })}>Say hello</Button>
    </View>
  );
}
