// One line of a phone's screen: a message, a picture, or a note of what happened to the phone.

import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { shorten } from '../format';
import { word } from '../words';
import type { Item, Message, Phone } from './phone';

interface Props {
  item: Item;
  phone: Phone;
  phones: Phone[];
  /** A picture is there, and the line has become higher. */
  loaded: () => void;
}

export function MessageItem({ item, phone, phones, loaded }: Props) {
  if ('say' in item) return <li class="note">{item.say()}</li>;
  const own = Boolean(item.from) && item.from === phone.openid.value;
  const sender = phones.find((each) => each.openid.value === item.from)?.name ?? shorten(item.from, 10);
  const classes = [own && 'own', item.recovered && 'recovered'].filter(Boolean).join(' ');
  return (
    <li class={classes}>
      {item.from && !own && <small class="sender">{sender}</small>}
      <Content message={item} phone={phone} sender={own ? phone.name : sender} loaded={loaded} />
      <small class="meta">
        <span>{item.channel ? shorten(item.channel, 12) : word('for_all')}</span>
        {item.offset > 0 && <span class="offset" title={word('offset', { offset: item.offset })}>#{item.offset}</span>}
        {item.recovered && <span class="mark">{word('recovered')}</span>}
      </small>
    </li>
  );
}

interface ContentProps {
  message: Message;
  phone: Phone;
  sender: string;
  loaded: () => void;
}

function Content({ message, phone, sender, loaded }: ContentProps) {
  const data = message.data as { text?: unknown; type?: unknown; file?: { id: string; type: string } } | null;
  if (data?.type === 'file' && data.file?.type.startsWith('image/')) {
    return <Picture id={data.file.id} phone={phone} sender={sender} loaded={loaded} />;
  }
  return <p>{typeof data?.text === 'string' ? data.text : JSON.stringify(message.data)}</p>;
}

function Picture({ id, phone, sender, loaded }: { id: string; phone: Phone; sender: string; loaded: () => void }) {
  const address = useSignal('');
  const problem = useSignal('');
  useEffect(() => {
    let made = '';
    phone.fetchPicture(id).then(
      (found) => {
        address.value = made = found;
      },
      (error: Error) => {
        problem.value = error.message;
      },
    );
    return () => URL.revokeObjectURL(made);
  }, [id]);
  if (problem.value) return <p>{problem.value}</p>;
  if (!address.value) return <div class="picture loading" />;
  return <img class="picture" src={address.value} alt={word('picture_alt', { name: sender })} onLoad={loaded} />;
}
