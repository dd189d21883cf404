#!/usr/bin/env node
// The program `dino`: in a checkout its TypeScript as it stands, in the published package what was compiled of it.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const source = new URL("./cli.ts", import.meta.url);
if (existsSync(fileURLToPath(source))) {
  const { register } = await import("tsx/esm/api");
  register();
  await run(source.href);
} else {
  await run("../dist/dino/cli.js");
}

async function run(cli) {
  const { main } = await import(cli);
  await main(process.argv.slice(2));
}
