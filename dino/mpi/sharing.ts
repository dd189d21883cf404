/** Broadcast and gather of JSON values. */
import type { World } from "./world.js";

const encode = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
const decode = (bytes: Uint8Array): unknown => JSON.parse(new TextDecoder().decode(bytes));

/** Returns the value that `make` returns at rank 0, at every rank. The value must be serializable as JSON. */
export async function broadcast<T>(world: World, make: () => T | Promise<T>): Promise<T> {
  if (world.rank > 0) return decode(await world.broadcast(undefined)) as T;
  const made = await make();
  await world.broadcast(encode(made));
  return made;
}

/** Gathers a value from every rank, in rank order, at rank 0; returns [] at the others. */
export async function gather<T>(world: World, message: T): Promise<readonly T[]> {
  return (await world.gather(encode(message))).map((bytes) => decode(bytes) as T);
}
