/** Tensors made of those of a file, where its project stores the same network in another way. */
import { elementsOf, type StoredTensor } from "./torch/stored.js";

/** A tensor and its names in the file: several if it is made of several. */
export interface NamedTensor {
  readonly tensor: StoredTensor;
  readonly from: readonly string[];
}

type Named = Map<string, NamedTensor>;

/**
 * Joins queries, keys and values, called `parts`, to the official `qkv`. Where keys alone have no bias, it is 0. Returns
 * whether a key had none.
 */
export function joinAttention(tensors: Named, parts: readonly string[]): boolean {
  let keysLackBias = false;
  for (const [name] of [...tensors]) {
    const [, before, kind] = /^(.*\.attn\.)query(\.weight|\.bias)$/.exec(name) ?? [];
    if (before === undefined || kind === undefined) continue;
    const names = parts.map((part) => before + part + kind);
    const [query, key, value] = names.map((part) => tensors.get(part));
    if (!query || !value || (!key && kind === ".weight")) continue;
    const found = [query, key, value].flatMap((part) => part ?? []);
    if (found.some(({ tensor }) => String(tensor.shape) !== String(query.tensor.shape))) continue;
    keysLackBias ||= !key;
    for (const part of names) tensors.delete(part);
    const [rows, ...rest] = query.tensor.shape as readonly [number, ...number[]];
    const size = elementsOf(query.tensor.shape);
    tensors.set(`${before}qkv${kind}`, {
      from: found.flatMap(({ from }) => from),
      tensor: {
        dtype: query.tensor.dtype,
        shape: [3 * rows, ...rest],
        async read() {
          const whole = new Float32Array(3 * size);
          for (const [i, part] of [query, key, value].entries())
            if (part) whole.set(await part.tensor.read(), i * size);
          return whole;
        },
      },
    });
  }
  return keysLackBias;
}

/** Sets the bias of keys to 0, which DINOv3 multiplies by 0. */
export function withoutKeyBias(tensors: ReadonlyMap<string, NamedTensor>): ReadonlyMap<string, NamedTensor> {
  return new Map(
    [...tensors].map(([name, { tensor, from }]) => {
      if (!name.endsWith(".attn.qkv.bias")) return [name, { tensor, from }];
      const read = async () => {
        const values = await tensor.read();
        return values.fill(0, values.length / 3, (2 * values.length) / 3);
      };
      return [name, { from, tensor: { ...tensor, read } }];
    }),
  );
}

/**
 * Makes positions of timm [1, 1 + patches, dim], for the class token and the patches. timm may add the position of the
 * class token to the token itself, and then has none; or it may have some for registers too, which are added to the
 * registers. `patches` is their number, that of a square if left out.
 */
export function withClsPosition(tensors: Named, patches: number | undefined): void {
  const found = tensors.get(POSITIONS);
  const [one, rows, cols] = found?.tensor.shape ?? [];
  if (!found || one !== 1 || rows === undefined || cols === undefined) return;
  const { tensor, from } = found;
  const fits = (count: number) => (patches === undefined ? Number.isInteger(Math.sqrt(count)) : count === patches);
  const registers = tensors.get(REGISTERS);
  const [, extra = 0] = registers?.tensor.shape ?? [];
  if (fits(rows - 1)) return;
  const put = (count: number, fill: (to: Float32Array, stored: Float32Array) => void): void => {
    const read = async () => {
      const values = new Float32Array(count * cols);
      fill(values, await tensor.read());
      return values;
    };
    tensors.set(POSITIONS, { from, tensor: { dtype: tensor.dtype, shape: [1, count, cols], read } });
  };
  if (fits(rows)) put(rows + 1, (to, stored) => to.set(stored, cols));
  else if (registers && rows - 1 - extra > 0 && fits(rows - 1 - extra)) {
    put(rows - extra, (to, stored) => {
      to.set(stored.subarray(0, cols));
      to.set(stored.subarray((1 + extra) * cols), cols);
    });
    const read = async () => {
      const positions = (await tensor.read()).subarray(cols);
      return (await registers.tensor.read()).map((value, i) => value + positions[i]!);
    };
    tensors.set(REGISTERS, { from: registers.from, tensor: { ...registers.tensor, read } });
  }
}

const POSITIONS = "backbone.pos_embed";
const REGISTERS = "backbone.register_tokens";

/** Drops the first axis of a tensor [1, 1, dim]. */
export function withoutFirstAxis(tensors: Named, name: string): void {
  const found = tensors.get(name);
  if (found?.tensor.shape.length === 3 && found.tensor.shape[0] === 1)
    tensors.set(name, { from: found.from, tensor: { ...found.tensor, shape: found.tensor.shape.slice(1) } });
}
