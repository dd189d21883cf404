/** Polling interval of Dawn's Node binding. */

const POLL_MS = 1;

let isLimited = false;

/**
 * Limits Dawn to one poll per millisecond. By default it polls in every turn of the event loop while work is pending, through
 * the global `setImmediate`. That keeps a core busy, which a CPU adapter needs for computing. Only callbacks of native code
 * are delayed; other callers of `setImmediate` are not affected.
 */
export function limitPolling(): void {
  if (isLimited) return;
  isLimited = true;
  const { setImmediate } = globalThis;
  const limited = (callback: (...args: unknown[]) => void, ...args: unknown[]): unknown =>
    isNativeCallback(callback) ? setTimeout(callback, POLL_MS) : setImmediate(callback, ...args);
  const replacement: unknown = Object.assign(limited, setImmediate); // keeps the property that `promisify` reads
  globalThis.setImmediate = replacement as typeof setImmediate;
}

/** Whether a function comes from a native module: it has no name and no parameters, while the resolver of a promise has one. */
function isNativeCallback(callback: unknown): boolean {
  return (
    typeof callback === "function" &&
    callback.name === "" &&
    callback.length === 0 &&
    Function.prototype.toString.call(callback).endsWith("{ [native code] }")
  );
}
