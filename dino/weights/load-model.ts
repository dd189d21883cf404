/** Loads models from files. */
import type { Device } from "../../engine/index.js";
import type { Model, Which } from "../model/backbone.js";
import { readModel } from "./checkpoint.js";
import { selectNetwork, uploadModel, type ReadNetwork } from "./read-network.js";

/**
 * Reads a network of a checkpoint or model file. Throws if it is neither, or if parameters do not match the settings.
 */
export async function readNetworkOf(path: string, which: Which): Promise<ReadNetwork> {
  return selectNetwork(await readModel(path), { path, which });
}

/** Loads the backbone of a checkpoint or model file onto a device. Throws as `readNetworkOf` does. */
export async function loadModel(device: Device, path: string, which: Which = "teacher"): Promise<Model> {
  return uploadModel(device, await readNetworkOf(path, which), which);
}
