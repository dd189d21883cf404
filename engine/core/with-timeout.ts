import { type Device, HungDeviceError } from "./device.js";

/**
 * What a device answers, or, where it answers nothing for as long as `device.patienceMs`, a HungDeviceError, which fails the
 * device too. Whatever waits for the device waits through this.
 */
export async function withTimeout<T>(device: Device, answer: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silence = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const error = new HungDeviceError(device);
      device.fail(error);
      reject(error);
    }, device.patienceMs);
  });
  try {
    return await Promise.race([answer, silence]);
  } finally {
    clearTimeout(timer);
  }
}
