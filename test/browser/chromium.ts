/** Headless Chromium, and pages of this repository's own sources in it. */
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Browser, chromium, type Page } from "playwright-core";
import type { Plugin, Rolldown } from "vite";

const fromHere = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** The files of a bundle by their names; `entry.js` is what a page begins with. */
export type Bundle = ReadonlyMap<string, string | Buffer>;

/**
 * Bundles a module of this folder as the web page is bundled, but opens devices of the browser where it asks for Node's.
 * Keeps what is used, or modules too of which nothing is, as those of tests.
 */
export async function bundle(
  entry: string,
  { keep = "used" }: { readonly keep?: "used" | "all" } = {},
): Promise<Bundle> {
  const { build } = await import("vite"); // Mocha requires what is imported above, which Vite does not bear
  const { default: settings } = await import("../../dino/web/vite.config.js");
  const built = await build({
    ...settings,
    configFile: false,
    logLevel: "error",
    plugins: [browserInsteadOfNode, ...(settings.plugins ?? [])],
    build: {
      write: false,
      rolldownOptions: {
        input: fromHere(entry),
        output: { entryFileNames: "entry.js" },
        treeshake: keep === "used",
      },
    },
  });
  return new Map(
    (built as Rolldown.RolldownOutput).output.map((file) => [
      file.fileName,
      file.type === "chunk" ? file.code : Buffer.from(file.source),
    ]),
  );
}

const browserInsteadOfNode: Plugin = {
  name: "browser-instead-of-node",
  enforce: "pre",
  resolveId: (id) =>
    id.endsWith("/engine/adapters/node.js") ? fromHere("../../engine/adapters/browser.ts") : undefined,
};

/** A page in a Chromium of its own, which ends with it. */
export interface OpenedPage extends AsyncDisposable {
  readonly page: Page;
}

export interface PageOptions {
  /** Browsers take it for secure unless it begins with http. */
  readonly address?: string;
  /** Functions of Node that the page may call from its first line on. */
  readonly functions?: Readonly<Record<string, (argument: never) => void>>;
}

/** Opens a page that runs a bundle. What goes wrong in it unseen goes to stderr. */
export async function openPage(
  files: Bundle,
  { address = "https://dino.test/", functions = {} }: PageOptions = {},
): Promise<OpenedPage> {
  const browser = await startChromium();
  const page = await browser.newPage();
  page.on("pageerror", (error) => process.stderr.write(`Chromium: ${error.stack ?? error.message}\n`));
  page.on("crash", () => process.stderr.write("Chromium: the page crashed\n"));
  await page.route("**/*", (route) => {
    const name = new URL(route.request().url()).pathname.slice(1);
    if (name === "") {
      const body = '<!doctype html><meta charset="utf-8"><script type="module" src="entry.js"></script>';
      return route.fulfill({ contentType: "text/html", body });
    }
    const body = files.get(name);
    if (body === undefined) return route.fulfill({ status: 404 });
    return route.fulfill({ contentType: name.endsWith(".js") ? "text/javascript" : "application/octet-stream", body });
  });
  for (const [name, call] of Object.entries(functions)) await page.exposeFunction(name, call);
  await page.goto(address);
  return { page, [Symbol.asyncDispose]: () => browser.close() };
}

export interface BrowserOptions {
  /** Whether it takes SwiftShader for WebGPU where there is no graphics card: it does if left out. */
  readonly hasWebGpu?: boolean;
  /** Whether it has a camera, of moving pictures of its own. */
  readonly hasCamera?: boolean;
}

/** Starts Chromium without a window. Throws where there is none. */
export async function startChromium({ hasWebGpu = true, hasCamera = false }: BrowserOptions = {}): Promise<Browser> {
  const args = [
    "--no-sandbox", // which root needs
    ...["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"],
    "--disable-sync",
    ...(hasWebGpu ? ["--enable-unsafe-webgpu"] : []),
    ...(hasCamera ? ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"] : []),
  ];
  return chromium.launch({ executablePath: findChromium(), args });
}

/** The program that the variable `CHROMIUM` names, or the first of its kind in PATH. Throws where there is none. */
function findChromium(): string {
  const { CHROMIUM, PATH = "" } = process.env;
  const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge"];
  const found =
    CHROMIUM ??
    PATH.split(delimiter)
      .flatMap((folder) => names.map((name) => join(folder, name)))
      .find(existsSync);
  if (found === undefined) {
    throw new Error(
      `npm run test:browser: expected one of ${names.join(", ")} in PATH; install Chromium, or name it in CHROMIUM`,
    );
  }
  return found;
}
