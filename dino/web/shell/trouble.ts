/** Errors for visitors: a message, and advice. */
import { DeviceLostError, HungDeviceError, isCausedBy, OutOfMemoryError } from "../../../engine/index.js";

/** An error as plain data, which a worker can send. */
export interface Trouble {
  readonly message: string;
  /** Advice to the visitor; empty if `message` has it. */
  readonly advice: string;
  /** Whether a new device may help. */
  readonly isOfDevice: boolean;
}

/** Converts an error for display. */
function troubleOf(error: unknown): Trouble {
  const message = error instanceof Error ? error.message : String(error);
  if (isCausedBy(error, DeviceLostError)) {
    const advice = "The driver was reset, or another program used too much of the device. Going on reopens the device.";
    return { message, advice, isOfDevice: true };
  }
  if (isCausedBy(error, HungDeviceError)) {
    return { message, advice: "Going on reopens the device; smaller images take less time.", isOfDevice: true };
  }
  if (isCausedBy(error, OutOfMemoryError)) {
    const advice = "Use smaller images or a smaller model, or close other programs that use the graphics card.";
    return { message, advice, isOfDevice: true };
  }
  return { message, advice: "", isOfDevice: false };
}

/** Runs work of a thread and throws its errors as `Trouble`, since errors lose their class on the way to the page. */
export async function withTroubles<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    // eslint-disable-next-line @typescript-eslint/only-throw-error -- a Trouble, as plain data
    throw troubleOf(error);
  }
}
