// What somebody typed: JSON where it is an object or an array, else plain text.

export function parseData(text: string, plain: (text: string) => unknown): unknown {
  if (!/^\s*[[{]/.test(text)) return plain(text);
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return plain(text);
  }
}
