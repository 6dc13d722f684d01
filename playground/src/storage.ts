// What the page remembers in this browser. Storage may be forbidden: then it lasts until the page is closed.

export function read(key: string): string | null {
  try {
    return localStorage.getItem(`wx-gateway-${key}`);
  } catch {
    return null;
  }
}

export function write(key: string, value: string): void {
  try {
    localStorage.setItem(`wx-gateway-${key}`, value);
  } catch {
    // see above
  }
}
