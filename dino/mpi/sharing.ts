/** What ranks tell each other besides numbers. */
import type { World } from "./world.js";

const encode = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
const decode = (bytes: Uint8Array): unknown => JSON.parse(new TextDecoder().decode(bytes));

/** What rank 0 makes, at every rank; it has to be what JSON can say. */
export async function broadcast<T>(world: World, make: () => T | Promise<T>): Promise<T> {
  if (world.rank > 0) return decode(await world.broadcast(undefined)) as T;
  const made = await make();
  await world.broadcast(encode(made));
  return made;
}

/** What every rank says, in the order of ranks, at rank 0; [] at the others. */
export async function gather<T>(world: World, said: T): Promise<readonly T[]> {
  return (await world.gather(encode(said))).map((bytes) => decode(bytes) as T);
}
