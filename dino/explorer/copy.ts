/** A copy of the map as files: browsers open it without a server, but it cannot search, label or compare. */
import { readFile } from "node:fs/promises";
import { contentOf, type Content, type Resource } from "../dashboard/site.js";

export interface CopyOptions {
  /** The built pages, by address. */
  readonly page: ReadonlyMap<string, string>;
  /** Names of data that scripts hold. */
  readonly scripts: readonly string[];
  /** Names of data that are files. */
  readonly files: readonly string[];
  /** Reads data of a name. */
  readonly read: (name: string) => Promise<Content | undefined>;
}

/** Addresses of the data begin with this. */
export const DATA = "/api/explore/";

const HTML = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <meta name="color-scheme" content="light dark" />
    <title>DINO map</title>
    <link rel="icon" href="data:," />
    <script>var mapData = new Map();</script>
    <script defer src="assets/map.js"></script>
  </head>
  <body>
    <noscript>The map needs JavaScript.</noscript>
  </body>
</html>
`;

/** Lists the files of a copy. */
export function copyFiles({ page, scripts, files, read }: CopyOptions): readonly Resource[] {
  const built = (address: string, name: string): Resource => ({
    address,
    read: async () => contentOf(address, await readFile(page.get(name)!)),
  });
  return [
    { address: "/index.html", read: () => Promise.resolve(contentOf(".html", HTML)) },
    built("/assets/map.js", "/copy/map.js"),
    built("/licenses.md", "/licenses.md"),
    ...scripts.map((name) => ({ address: `${DATA}${name}.js`, read: async () => scriptOf(name, await read(name)) })),
    ...files.map((name) => ({ address: DATA + name, read: () => read(name) })),
  ];
}

function scriptOf(name: string, content: Content | undefined): Content | undefined {
  if (content === undefined) return undefined;
  const text = Buffer.from(content.bytes).toString("base64");
  return contentOf(".js", `mapData.set(${JSON.stringify(name)}, "${text}");\n`);
}
