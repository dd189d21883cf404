/** Where what the server has of runs and models is found. */

/** The address of a file of a run or model; found anew where its version changes. */
export function addressOf(kind: "runs" | "models", name: string, file: string, version?: string): string {
  const address = ["api", kind, ...name.split("/").map(encodeURIComponent), file].join("/");
  return version === undefined ? address : `${address}?version=${encodeURIComponent(version)}`;
}
