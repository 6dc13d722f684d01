// Icons of 20 × 20, drawn with the text's colour. They are decoration: buttons have words or labels.

const PATHS = {
  moon: 'M15.5 12.3A6.5 6.5 0 0 1 7.7 4.5a6.5 6.5 0 1 0 7.8 7.8Z',
  sun: 'M10 6.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7ZM10 2v1.5M10 16.5V18M18 10h-1.5M3.5 10H2M15.7 4.3l-1.1 1.1M5.4 14.6l-1.1 1.1M15.7 15.7l-1.1-1.1M5.4 5.4 4.3 4.3',
  auto: 'M10 3a7 7 0 1 0 0 14V3ZM10 3a7 7 0 0 1 0 14',
  close: 'M5.5 5.5l9 9M14.5 5.5l-9 9',
  plus: 'M10 4.5v11M4.5 10h11',
  picture: 'M3.5 5h13v10h-13zM3.5 13l3.5-3.5 3 3 2.5-2.5 4 4M12.7 8.2h.1',
  send: 'M3.5 10h12M11 5.5l4.5 4.5-4.5 4.5',
  home: 'M4 9.5 10 4.5l6 5M5.5 8.5v7h9v-7',
  noNetwork: 'M3 8.5a10.5 10.5 0 0 1 14 0M6 11.7a6 6 0 0 1 8 0M10 15h.1M4 4l12 12',
  wifi: 'M3 8.5a10.5 10.5 0 0 1 14 0M6 11.7a6 6 0 0 1 8 0M10 15h.1',
  swap: 'M4 7.5h11M12 4.5l3 3-3 3M16 12.5H5M8 9.5l-3 3 3 3',
  slow: 'M4 14.5a6.5 6.5 0 1 1 12 0M10 12.5 7 9',
  power: 'M10 3.5v6M6 5.8a6 6 0 1 0 8 0',
  search: 'M9 4.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9ZM12.5 12.5l3.5 3.5',
  back: 'M12 5l-5 5 5 5',
} as const;

export function Icon({ name }: { name: keyof typeof PATHS }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
