// Phones beside the desk that publishes to them.

import { signal } from '@preact/signals';
import type { Config } from '../desk';
import { Icon } from '../parts/icons';
import { word } from '../words';
import { DevDesk } from './DevDesk';
import { Phone } from './phone';
import { PhoneCard } from './PhoneCard';

const NAMES = ['Alice', 'Bob', 'Carol', 'Dave', 'Erin', 'Frank', 'Grace', 'Heidi'];

export const phones = signal<Phone[]>([]);

export function addPhone(config: Config): void {
  const taken = new Set(phones.value.map((phone) => phone.name));
  let number = 0;
  let name = NAMES.find((each) => !taken.has(each));
  while (!name || taken.has(name)) {
    number += 1;
    name = `Phone${number}`;
  }
  phones.value = [...phones.value, new Phone(name, config)];
}

function removePhone(phone: Phone): void {
  phones.value = phones.value.filter((each) => each !== phone);
  phone.remove();
}

export function PhonesView({ config }: { config: Config }) {
  return (
    <div class="phones-view">
      <DevDesk config={config} phones={phones.value} />
      <section class="phones" aria-label={word('phones')}>
        {phones.value.map((phone) => (
          <PhoneCard key={phone.name} phone={phone} phones={phones.value} remove={() => removePhone(phone)} />
        ))}
        <button type="button" class="add-phone" onClick={() => addPhone(config)}>
          <Icon name="plus" />
          <strong>{word('add')}</strong>
          <span>{word('add_text')}</span>
        </button>
      </section>
    </div>
  );
}
