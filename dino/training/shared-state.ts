/** State shared between ranks: broadcast of the initial state, gathering of features, comparison of states. */
import { createHash } from "node:crypto";
import type { DecodeFailure } from "../images/image-location.js";
import type { Extracted } from "../model/extract.js";
import { broadcast, gather } from "../mpi/sharing.js";
import { bytesIn, type World } from "../mpi/world.js";
import { type Checkpoint, isOfNetwork, type Values } from "../weights/checkpoint-bytes.js";
import type { InitialState } from "./trainer.js";

/**
 * Broadcasts the initial state of rank 0, so that other ranks need no access to its files; `make` is called at rank 0
 * only.
 */
export async function shareInitialState(world: World, make: () => Promise<InitialState>): Promise<InitialState> {
  if (world.size === 1) return make();
  const made = world.rank === 0 ? await make() : undefined;
  const state = made && ("checkpoint" in made ? made.checkpoint : undefined);
  const metadata = await broadcast<Omit<Checkpoint, "tensors"> | null>(world, () => {
    if (!state) return null;
    const { config, step, unlogged, choices } = state;
    return { config, step, unlogged, choices };
  });
  const tensors = await shareTensors(
    world,
    made && ("checkpoint" in made ? made.checkpoint.tensors : flat(made.values)),
  );
  return metadata
    ? { checkpoint: { ...metadata, tensors } }
    : { values: new Map([...tensors].map(([name, { values }]) => [name, values])) };
}

function flat(values: ReadonlyMap<string, Float32Array>): ReadonlyMap<string, Values> {
  return new Map([...values].map(([name, each]) => [name, { shape: [each.length], values: each }]));
}

async function shareTensors(
  world: World,
  tensors: ReadonlyMap<string, Values> | undefined,
): Promise<ReadonlyMap<string, Values>> {
  const shapes = await broadcast(world, () => [...tensors!].map(([name, { shape }]) => ({ name, shape })));
  const shared = new Map<string, Values>();
  for (const { name, shape } of shapes) {
    const bytes = await world.broadcast(tensors && bytesIn(tensors.get(name)!.values));
    shared.set(name, { shape, values: new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4) });
  }
  return shared;
}

/** Returns a rank's contiguous share of a list; lengths differ by at most one. */
export function sliceOf<T>(list: ArrayLike<T>, { rank, size }: Pick<World, "rank" | "size">): readonly T[] {
  const start = (which: number): number => Math.floor((list.length * which) / size);
  return Array.from({ length: start(rank + 1) - start(rank) }, (_, i) => list[start(rank) + i]!);
}

/** Gathers the features of all ranks, in rank order, at rank 0; returns their own at the others. */
export async function gatherFeatures(world: World, own: Extracted): Promise<Extracted> {
  const lists = await gather<{ readonly dim: number; readonly failures: readonly DecodeFailure[] }>(world, {
    dim: own.features.dim,
    failures: own.failures,
  });
  const indices = join(Int32Array, await world.gather(bytesIn(own.indices)));
  const values = join(Float32Array, await world.gather(bytesIn(own.features.values)));
  if (world.rank > 0) return own;
  const dim = Math.max(...lists.map(({ dim }) => dim)); // 0 where a rank had no image
  return {
    features: { values, rows: indices.length, dim },
    indices,
    failures: lists.flatMap(({ failures }) => failures),
  };
}

function join<T extends Int32Array | Float32Array>(
  type: new (buffer: ArrayBuffer) => T,
  parts: readonly Uint8Array[],
): T {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return new type(all.buffer);
}

/** Parts of a state that must be identical on all ranks. */
const PARTS = {
  teacher: isOfNetwork,
  student: (name) => name.startsWith("student."),
  optimizer: (name) => name.startsWith("optimizer."),
  center: (name) => name === "center" || name === "ibot_center",
  "loss scale": (name) => name === "loss_scale",
} satisfies Record<string, (name: string) => boolean>;

/** Throws at rank 0, naming the ranks, if their states are not byte-identical. */
export async function verifyStates(world: World, { step, tensors }: Checkpoint): Promise<void> {
  const hashes = Object.entries(PARTS).map(([part, isOfPart]) => {
    const hash = createHash("sha256");
    for (const [name, { values }] of tensors) if (isOfPart(name)) hash.update(bytesIn(values));
    return [part, hash.digest("hex")] as const;
  });
  const all = (await gather(world, hashes)).map((each) => new Map(each));
  const wrong = all.flatMap((ofRank, rank) => {
    const parts = [...ofRank].filter(([part, hash]) => hash !== all[0]!.get(part)).map(([part]) => part);
    return parts.length > 0 ? [`rank ${rank} in its ${parts.join(", ")}`] : [];
  });
  if (wrong.length === 0) return;
  throw new Error(
    `--verify-ranks: after step ${step} the ranks are not alike: ${wrong.join("; ")} ${wrong.length > 1 ? "differ" : "differs"} from rank 0; ` +
      "the last checkpoint may be of either. Look for a faulty device, and for devices or drivers that are not the same",
  );
}
