/** What every place that this library runs in has, beside the language. */
declare function setTimeout(callback: () => void, milliseconds?: number): any;
declare function clearTimeout(timer: any): void;
declare const console: { warn(...what: any[]): void } | undefined;
