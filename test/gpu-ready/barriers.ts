/** Barriers of the shaders, and how to take one out. */
import { readdirSync } from "node:fs";
import { readShader } from "../../engine/adapters/node.js";
import type { Device } from "../../engine/core/device.js";
import { withShaders } from "../support/changed-device.js";

/** The n-th barrier of a shader file, from 1. */
export interface Barrier {
  readonly file: string;
  readonly n: number;
}

/** A uniform load is none of these: where it is a plain one, the compiler refuses the branch that depends on it. */
const BARRIER = "workgroupBarrier();";

/** All barriers of all shader files. */
export const barriers: readonly Barrier[] = readdirSync(new URL("../../shaders/", import.meta.url)).flatMap((name) => {
  const file = name.replace(/\.wgsl$/, "");
  return Array.from({ length: readShader(file).split(BARRIER).length - 1 }, (_, i) => ({ file, n: i + 1 }));
});

/** Returns the device with a barrier removed. */
export function withoutBarrier(device: Device, barrier: Barrier): Device {
  return withShaders(device, (text, file) => {
    let n = 0;
    return text.replaceAll(BARRIER, (found) => (file === barrier.file && ++n === barrier.n ? "" : found));
  });
}

/** Whether lavapipe compiles a file for ten seconds, and once for each barrier that is taken out. */
export function isSlow({ file }: Barrier): boolean {
  return file.startsWith("attention");
}

/** A barrier without which no case fails on lavapipe. */
export interface HiddenBarrier extends Barrier {
  /** A case that has a race without it; undefined where there is none, since the kernel is never given what needs the barrier. */
  readonly race?: { readonly set: string; readonly title: string };
  /** Whether every other order of threads hides it as well. */
  readonly inEveryOrder?: true;
}

const softmax = { set: "f32 without subgroups", title: "softmax, wider than a workgroup" };
const attention = { set: "f32", title: "attention, more tokens than two tiles" };
const matrices = { set: "tensor cores, played", title: "attention, ViT on 224 px" };
const topK = { set: "f32", title: "topK, more candidates than fit" };
const addLayernorm = { set: "f32", title: "addLayernorm, more rows than workgroups" };

/**
 * The barriers that lavapipe hides. It runs the subgroups of a workgroup one after another from barrier to barrier, and the eight
 * threads of each in step.
 */
export const hiddenBarriers: readonly HiddenBarrier[] = [
  // The first thread makes the total, and runs before the others read it.
  { file: "reduce", n: 2, race: softmax },
  { file: "reduce", n: 5, race: softmax },
  // The eight threads that share a row are one subgroup.
  { file: "attention-tile-forward", n: 1, race: attention },
  { file: "attention-tile-forward", n: 4, race: attention },
  // The two threads that share a row are neighbours.
  { file: "attention-subgroup-matrix", n: 5, race: matrices },
  { file: "attention-subgroup-matrix", n: 7, race: matrices },
  // Where matrices are played, a thread loads of one what it has stored.
  {
    file: "attention-subgroup-matrix",
    n: 10,
    race: { ...matrices, title: "attention, large scores" },
    inEveryOrder: true,
  },
  // The first thread begins a new count, and runs before the others count.
  { file: "top-k", n: 2, race: topK },
  // All threads read totals, but those alone use them that have made them.
  { file: "add-parts", n: 2, race: addLayernorm, inEveryOrder: true },
  // The host gives an item of many parts no more columns than lie beside each other, so that memory is used once.
  { file: "add-parts", n: 3 },
];
