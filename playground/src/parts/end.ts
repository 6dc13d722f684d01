// A list that stays at its end while lines are added, unless somebody has scrolled away from there.

import type { RefObject } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';

/** Pixels from the end that still count as the end. */
const NEAR = 40;

export interface End<E extends HTMLElement> {
  list: RefObject<E | null>;
  /** For `onScroll`. */
  scrolled: () => void;
  /** For what makes the list longer without a new line: a picture that has loaded. */
  stay: () => void;
}

export function useEnd<E extends HTMLElement>(): End<E> {
  const list = useRef<E>(null);
  const atEnd = useRef(true);
  const stay = (): void => {
    if (atEnd.current && list.current) list.current.scrollTop = list.current.scrollHeight;
  };
  // In the same frame as the change: else the scroll event would find the list longer and not at its end.
  useLayoutEffect(stay);
  const scrolled = (): void => {
    const { scrollHeight, scrollTop, clientHeight } = list.current!;
    atEnd.current = scrollHeight - scrollTop - clientHeight < NEAR;
  };
  return { list, scrolled, stay };
}
