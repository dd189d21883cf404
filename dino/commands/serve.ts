/** `dino serve` */
import { existsSync } from "node:fs";
import type { Command } from "commander";
import { findRuns } from "../dashboard/runs.js";
import { openDashboard } from "../dashboard/server.js";
import { heedSignals } from "../interrupt.js";
import { DEFAULT_PORT, port as portOf } from "./flags.js";
import { print, printAside, printJson } from "./output.js";

interface Flags {
  readonly port: number;
  readonly host: string;
  readonly json?: true;
}

export function addServe(dino: Command): void {
  dino
    .command("serve")
    .description("show runs in a browser while they train, or afterwards: curves, pictures, settings, kernels")
    .argument("<out...>", "folders of runs, and folders that hold some")
    .option("--port <number>", "port to serve at; 0 for any that is free", portOf, DEFAULT_PORT)
    .option("--host <address>", "address to serve at; 0.0.0.0 shows the runs to the whole network", "127.0.0.1")
    .option("--json", "print where it serves, and which runs, as JSON and nothing else")
    .addHelpText("after", "\nIt only reads the runs. Ctrl-C ends it.\n\nExample:\n  dino serve runs")
    .action(async (roots: readonly string[], { port, host, json }: Flags) => {
      const runs: string[] = [];
      for (const root of roots) {
        if (!existsSync(root)) throw new Error(`${root}: expected the folder of a run, got nothing of that name`);
        const found = [...(await findRuns([root])).values()];
        runs.push(...found);
        if (found.length === 0) {
          throw new Error(
            `${root}: expected the folder of a run, with config.json and log.jsonl, or one that holds some`,
          );
        }
      }
      await using dashboard = await openDashboard({ roots, host, port, say: printAside });
      if (json) printJson({ address: dashboard.address, runs });
      else print(dashboard.address);
      using interruption = heedSignals(() => undefined);
      await new Promise((resolve) => interruption.asked.addEventListener("abort", resolve));
    });
}
