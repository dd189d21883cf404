import { type Device, HungDeviceError } from "./device.js";

/**
 * Awaits an answer of a device. Throws a HungDeviceError, which also fails the device, after `device.patienceMs` without one.
 * All waiting for a device goes through this function.
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
