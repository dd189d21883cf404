import { extname } from "node:path";
import type { PeerSpec } from "./peer-process.js";

/** The name of this project's engine among the others. */
export const OURS = "ours";

const module = (name: string) => new URL(`./${name}${extname(import.meta.url)}`, import.meta.url);

/** V8's optimizing compiler spends up to 80 s on one function of its WebAssembly, which the quick one does at once. */
const onnxruntime = { module: module("onnxruntime"), nodeFlags: ["--liftoff-only"] };

export const peerSpecs: readonly PeerSpec[] = [
  { name: OURS, module: module("ours") },
  { name: "tfjs", module: module("tfjs") },
  { name: "jax-js", module: module("jax") },
  { name: "onnxruntime", ...onnxruntime },
  // its attention is wrong where subgroups have 4 or 8 lanes, as on software adapters
  { name: "onnxruntime without subgroups", ...onnxruntime, hidden: ["subgroups", "subgroup-size-control"] },
];
