import { type SafeHeader, safetensorsHeader, safetensorsHeaderBytes } from "../../engine/index.js";
import type { PlacedFile } from "../files/placed-file.js";

/** Reads the header of a safetensors file, without the tensors. Throws for other files. */
export async function readSafetensorsHeader(file: PlacedFile): Promise<SafeHeader> {
  const bytes = safetensorsHeaderBytes(await file.read(0, 8), file.size);
  return safetensorsHeader(await file.read(0, bytes), file.size);
}
