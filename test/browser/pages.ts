/** The pages as they are built, and what tests ask of each. */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import axe from "axe-core";
import type { Page } from "playwright-core";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** The folder of the built pages. */
export const pagesFolder = fileURLToPath(new URL("../../dist/web", import.meta.url));

let areBuilt = false;

/** Builds the pages as they stand, once for all tests. */
export function buildPages(): void {
  if (!areBuilt) execFileSync("npm", ["run", "build:web"], { cwd: root, stdio: "ignore" });
  areBuilt = true;
}

/** What axe finds wrong with a page as it is: https://github.com/dequelabs/axe-core */
export async function violations(page: Page): Promise<readonly string[]> {
  await page.evaluate(axe.source);
  const { violations: found } = await page.evaluate(() =>
    (globalThis as unknown as { readonly axe: typeof axe }).axe.run(),
  );
  return found.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
}
