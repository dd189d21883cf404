import { extname } from "node:path";
import type { PeerSpec } from "./peer-process.js";

/** Name of this project's engine. */
export const OURS = "ours";

const module = (name: string) => new URL(`./${name}${extname(import.meta.url)}`, import.meta.url);

/** V8's optimizing compiler takes up to 80 s for one function of its WebAssembly; the baseline compiler is immediate. */
const onnxruntime = { module: module("onnxruntime"), nodeFlags: ["--liftoff-only"] };

/** All engines of the comparison. */
export const peerSpecs: readonly PeerSpec[] = [
  { name: OURS, module: module("ours") },
  { name: "tfjs", module: module("tfjs") },
  { name: "jax-js", module: module("jax") },
  { name: "onnxruntime", ...onnxruntime },
  // its attention is wrong with subgroups of 4 or 8 lanes, as on software adapters
  { name: "onnxruntime without subgroups", ...onnxruntime, hidden: ["subgroups", "subgroup-size-control"] },
];
