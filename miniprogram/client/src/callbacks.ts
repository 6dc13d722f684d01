/** Promises for those who like them, `success`, `fail` and `complete` for those who know wx. */

import type { Callbacks } from './api';
import { asError } from './errors';

/** Tell `callbacks` what becomes of `promise`; the promise comes back, quiet where a callback hears of failures. */
export function tell<T>(promise: Promise<T>, callbacks: Callbacks<T> | undefined): Promise<T> {
  if (!callbacks || !(callbacks.success || callbacks.fail || callbacks.complete)) return promise;
  const { success, fail, complete } = callbacks;
  promise.then(
    (result) => {
      if (success) later(() => success(result));
      if (complete) later(() => complete(result));
    },
    (reason) => {
      const error = asError(reason);
      if (fail) later(() => fail(error));
      if (complete) later(() => complete(error));
    },
  );
  // Who gave callbacks does not look at the promise: an "unhandled rejection" would only alarm.
  if (fail || complete) promise.then(undefined, () => undefined);
  return promise;
}

/** An exception of a callback is the app's, and reaches its own error handler. */
function later(callback: () => void): void {
  setTimeout(callback, 0);
}
