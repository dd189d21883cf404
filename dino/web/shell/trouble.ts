/** What goes wrong on a visitor's device: a sentence each, and a way on. */
import { DeviceLostError, HungDeviceError, isCausedBy, OutOfMemoryError } from "../../../engine/index.js";

/** As plain data, which a worker can send. */
export interface Trouble {
  readonly message: string;
  /** What the visitor can do; empty where `words` say it. */
  readonly advice: string;
  /** Whether a new device is worth a try. */
  readonly isOfDevice: boolean;
}

/** An error in the words of the pages. */
export function troubleOf(error: unknown): Trouble {
  const message = error instanceof Error ? error.message : String(error);
  if (isCausedBy(error, DeviceLostError)) {
    const advice = "The driver was reset, or another program took too much of it. Going on opens the device anew.";
    return { message, advice, isOfDevice: true };
  }
  if (isCausedBy(error, HungDeviceError)) {
    return { message, advice: "Going on opens the device anew; smaller images take less time.", isOfDevice: true };
  }
  if (isCausedBy(error, OutOfMemoryError)) {
    const advice = "Take smaller images or a smaller model, or close what else uses the graphics card.";
    return { message, advice, isOfDevice: true };
  }
  return { message, advice: "", isOfDevice: false };
}

/** Does a thread's work, and throws in words what goes wrong: errors lose their class on the way to the page. */
export async function withTroubles<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    // eslint-disable-next-line @typescript-eslint/only-throw-error -- a Trouble, as plain data
    throw troubleOf(error);
  }
}
