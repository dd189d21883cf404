/** Addresses of the API. */

/** Returns the address of a file of a run or model; another version has another address. */
export function addressOf(kind: "runs" | "models", name: string, file: string, version?: string): string {
  const address = ["api", kind, ...name.split("/").map(encodeURIComponent), file].join("/");
  return version === undefined ? address : `${address}?version=${encodeURIComponent(version)}`;
}
