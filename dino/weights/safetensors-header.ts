import { type SafeHeader, safetensorsHeader, safetensorsHeaderBytes } from "../../engine/index.js";
import type { OpenFile } from "../files/files.js";

/** Reads the header of a safetensors file, without the tensors. Throws for other files. */
export async function readSafetensorsHeader(file: OpenFile): Promise<SafeHeader> {
  const bytes = safetensorsHeaderBytes(await file.read(0, 8), file.size);
  return safetensorsHeader(await file.read(0, bytes), file.size);
}
