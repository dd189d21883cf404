/** How often Dawn's binding for Node asks for what the GPU has done. */

const POLL_MS = 1;

let isLimited = false;

/**
 * Makes Dawn ask every millisecond. While anything is pending it otherwise asks on every turn of the event loop, by the global
 * `setImmediate`, which keeps a core busy: on an adapter that computes on the CPU, one of those that compute. Only callbacks
 * made by native code are put off, so that no other caller of `setImmediate` notices.
 */
export function limitPolling(): void {
  if (isLimited) return;
  isLimited = true;
  const { setImmediate } = globalThis;
  const calm = (callback: (...words: unknown[]) => void, ...words: unknown[]): unknown =>
    isNativeCallback(callback) ? setTimeout(callback, POLL_MS) : setImmediate(callback, ...words);
  const replacement: unknown = Object.assign(calm, setImmediate); // with what `promisify` looks for
  globalThis.setImmediate = replacement as typeof setImmediate;
}

/** Whether a function comes out of a native module: it has no name and no parameters; a promise's resolver has one. */
function isNativeCallback(callback: unknown): boolean {
  return (
    typeof callback === "function" &&
    callback.name === "" &&
    callback.length === 0 &&
    Function.prototype.toString.call(callback).endsWith("{ [native code] }")
  );
}
