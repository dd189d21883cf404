import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { brotliDecompress } from "node:zlib";
import { cacheFolder } from "./cache-folder.js";

/** Paths of Google's Vulkan driver for the CPU and of a Vulkan loader, unpacked on this machine. */
export interface SwiftShader {
  readonly icd: string;
  readonly loader: string;
}

/** The archive with SwiftShader in the optional dependency. */
export interface Archive {
  readonly path: string;
  readonly version: string;
}

const PACKAGE = "@sparticuz/chromium";
const ICD = "vk_swiftshader_icd.json";
const LOADER = "libvulkan.so.1";
const FILES = ["libvk_swiftshader.so", ICD, LOADER];

/** Finds the archive in the optional dependency; undefined if that is not installed or has no driver for this machine. */
export async function findArchive(): Promise<Archive | undefined> {
  if (process.platform !== "linux" || process.arch !== "x64") return undefined;
  try {
    const root = join(dirname(createRequire(import.meta.url).resolve(PACKAGE)), "..", "..");
    const path = join(root, "bin", "swiftshader.tar.br");
    if (!existsSync(path)) return undefined;
    const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { readonly version: string };
    return { path, version };
  } catch {
    return undefined; // an optional dependency may be absent
  }
}

/**
 * Unpacks SwiftShader into the cache, unless it is there already. Concurrent processes each fill a temporary folder, and one
 * renames it into place. Throws if the cache is not writable.
 */
export async function unpackSwiftShader(archive: Archive, cache = cacheFolder()): Promise<SwiftShader> {
  const folder = join(cache, `swiftshader-${archive.version}`);
  const unpacked = { icd: join(folder, ICD), loader: join(folder, LOADER) };
  if (existsSync(folder)) return unpacked;

  const tar = await promisify(brotliDecompress)(await readFile(archive.path));
  const files = [...entries(tar)].filter(({ name }) => FILES.includes(name));
  if (files.length !== FILES.length) throw new Error(`${archive.path} lacks one of ${FILES.join(", ")}`);
  const temporary = await mkdir(cache, { recursive: true })
    .then(() => mkdtemp(`${folder}.`))
    .catch((error: unknown) => {
      throw new Error(`cannot write ${cache}; point XDG_CACHE_HOME at a folder that can be written`, { cause: error });
    });
  try {
    for (const { name, content } of files)
      await writeFile(join(temporary, name), content, { mode: 0o755, flush: true });
    await rename(temporary, folder);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    if (!existsSync(folder)) throw error; // else another process was faster
  }
  return unpacked;
}

const BLOCK = 512;

/** Yields the files of a tar archive, with their base names. */
function* entries(tar: Buffer): Generator<{ readonly name: string; readonly content: Buffer }> {
  const text = (start: number, length: number) => tar.toString("latin1", start, start + length).split("\0", 1)[0]!;
  for (let offset = 0; offset + BLOCK <= tar.length && tar[offset] !== 0;) {
    const size = parseInt(text(offset + 124, 12), 8);
    const content = tar.subarray(offset + BLOCK, offset + BLOCK + size);
    yield { name: text(offset, 100).replace(/^.*\//, ""), content };
    offset += BLOCK * (1 + Math.ceil(size / BLOCK));
  }
}
