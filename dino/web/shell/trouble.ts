/** What goes wrong on a visitor's device: a sentence each, and a way on. */
import { DeviceLostError, HungDeviceError, isCausedBy, OutOfMemoryError } from "../../../engine/index.js";

/** As plain data, which a worker can send. */
export interface Trouble {
  readonly words: string;
  /** What the visitor can do; empty where `words` say it. */
  readonly wayOn: string;
  /** Whether a new device is worth a try. */
  readonly isOfDevice: boolean;
}

/** An error in the words of the pages. */
export function troubleOf(error: unknown): Trouble {
  const words = error instanceof Error ? error.message : String(error);
  if (isCausedBy(error, DeviceLostError)) {
    const wayOn = "The driver was reset, or another program took too much of it. Going on opens the device anew.";
    return { words, wayOn, isOfDevice: true };
  }
  if (isCausedBy(error, HungDeviceError)) {
    return { words, wayOn: "Going on opens the device anew; smaller images take less time.", isOfDevice: true };
  }
  if (isCausedBy(error, OutOfMemoryError)) {
    const wayOn = "Take smaller images or a smaller model, or close what else uses the graphics card.";
    return { words, wayOn, isOfDevice: true };
  }
  return { words, wayOn: "", isOfDevice: false };
}

/** Does a thread's work, and throws in words what goes wrong: errors lose their class on the way to the page. */
export async function inWords<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    // eslint-disable-next-line @typescript-eslint/only-throw-error -- a Trouble, as plain data
    throw troubleOf(error);
  }
}
