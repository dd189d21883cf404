/** The data of a copy of the map, which its scripts hold, since a page that is a file may read nothing else. */

declare global {
  /** In a copy of the map alone: what its scripts have brought, by name, as base64. */
  var mapData: Map<string, string> | undefined;
}

export function isCopy(): boolean {
  return globalThis.mapData !== undefined;
}

/** Reads data by its name within the folder of the data. Throws if its script is missing. */
export async function readCopied(folder: string, name: string): Promise<Uint8Array<ArrayBuffer>> {
  const arrived = globalThis.mapData!;
  const [path, query = ""] = name.split("?");
  const script = document.createElement("script");
  script.src = `${folder}${path!}.js?${query}`;
  await new Promise((resolve, reject) => {
    script.onload = resolve;
    script.onerror = () => reject(new Error(`${path!}.js is missing; copy the whole folder of the map`));
    document.head.append(script);
  });
  script.remove();
  const text = atob(arrived.get(path!)!);
  arrived.delete(path!);
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}
