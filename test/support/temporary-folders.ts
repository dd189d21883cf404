import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Returns a function that creates an empty folder; the `describe` that calls this removes them all at its end. */
export function temporaryFolders(name: string): () => Promise<string> {
  const folders: string[] = [];
  after(() => Promise.all(folders.map((path) => rm(path, { recursive: true, force: true }))));
  return async () => {
    const path = await mkdtemp(join(tmpdir(), `${name}-`));
    folders.push(path);
    return path;
  };
}

/** Writes a file and returns its path. */
export async function put(folder: string, name: string, bytes: Uint8Array | string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, bytes);
  return path;
}
