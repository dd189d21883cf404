import { type Device, HungDeviceError } from "./device.js";

/** Milliseconds within which a lost device tells of its loss, after it has failed what it owed. */
const LOSS_MS = 1000;

/**
 * Awaits an answer of a device. If it fails, waits briefly for the loss of the device, which would be the reason. Throws a HungDeviceError, which also fails the device, after `device.patienceMs` without one.
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
  } catch (error) {
    if (!device.failure()) await Promise.race([device.gpu.lost, sleep(LOSS_MS)]);
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
