#!/usr/bin/env node
// The program `dino`: runs the TypeScript sources in a checkout, the compiled files in the published package.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const isCheckout = existsSync(fileURLToPath(new URL("./cli.ts", import.meta.url)));
try {
  if (isCheckout) {
    const { register } = await import("tsx/esm/api");
    register();
  }
  const { main } = await import(isCheckout ? "./cli.ts" : "../dist/dino/cli.js");
  await main(process.argv.slice(2));
} catch (error) {
  const [, name] = /^Cannot find (?:package|module) '([^']+)'/.exec(error.message) ?? [];
  if (error.code !== "ERR_MODULE_NOT_FOUND" || name === undefined) throw error;
  const advice = isCheckout
    ? `run npm ci in ${fileURLToPath(new URL("..", import.meta.url))}`
    : "install dino-webgpu again";
  console.error(`dino: ${name} is not installed; ${advice}`);
  process.exitCode = 1;
}
