/** Showing pages of a server: opening a browser, and serving until Ctrl-C. */
import { catchSignals } from "../training/interrupt.js";
import { printToStderr } from "./output.js";

/** Opens the address in a browser, or asks the user to if there is none. */
export async function openInBrowser(address: string): Promise<void> {
  const { default: open } = await import("open");
  const reportFailure = () => printToStderr(`no browser could be opened; open ${address} in one`);
  try {
    const child = await open(address);
    child.once("error", reportFailure).once("exit", (code) => {
      if (code) reportFailure();
    });
  } catch {
    reportFailure();
  }
}

/** Resolves at Ctrl-C, SIGTERM or SIGHUP. */
export async function untilInterrupted(): Promise<void> {
  using interruption = catchSignals(() => undefined);
  await new Promise((resolve) => interruption.signal.addEventListener("abort", resolve));
}
