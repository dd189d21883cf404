/** Inspection of single images, one at a time: patch features and attention of the cls token. */
import { input, type Program, record, reshape, slice, type Tensor } from "../../engine/index.js";
import { type Image, type Normalization, normalize, normalizeTable, type Size } from "../images/pixels.js";
import type { Backbone } from "./backbone.js";
import { patchGrid } from "./positions.js";
import { observe, type Observation } from "./vit.js";

/** A tensor to compute for one image, recorded once per image size. */
export type Aspect = (backbone: Backbone, observation: Observation) => Tensor;

/** The values of every aspect for one image, and its size in patches. */
export type Inspection<Names extends string> = Readonly<Record<Names, Float32Array>> & {
  readonly rows: number;
  readonly cols: number;
};

/** A backbone prepared for inspection. Dispose of it to free its memory. */
export interface Inspector<Names extends string> extends Disposable {
  /** Inspects one image of any size that holds a patch; consecutive images of one size share a recording. */
  inspect(image: Image): Promise<Inspection<Names>>;
}

/** Patch features after the final norm: -> [patches, dim]. */
export function patchFeatures({ vit: { dim } }: Backbone, { tokens }: Observation): Tensor {
  const patches = tokens.shape[1]! - 1;
  return reshape(slice(tokens, 1, 1, patches), [patches, dim]);
}

/**
 * Attention of the cls token in the last block, per head, without its own share and the registers': -> [heads,
 * patches].
 */
export function clsAttention({ vit: { heads } }: Backbone, { tokens, attention }: Observation): Tensor {
  const patches = tokens.shape[1]! - 1;
  const clsRow = attention(1); // [1, heads, 1, 1 + registers + patches]
  return reshape(slice(clsRow, 3, clsRow.shape[3]! - patches, patches), [heads, patches]);
}

/**
 * Queries, then keys, of the last block, from which attention follows row by row: -> [1 + registers + patches, 2 * dim].
 * Unlike the attention of all tokens, they grow only as the tokens do.
 */
export function queriesAndKeys({ vit: { dim } }: Backbone, observation: Observation): Tensor {
  const found = observation.queriesAndKeys();
  return reshape(found, [found.shape[1]!, 2 * dim]);
}

/** Prepares a backbone to compute `aspects` of images, normalised as in training. */
export function openInspector<const Names extends string>(
  backbone: Backbone,
  normalization: Normalization,
  aspects: Readonly<Record<Names, Aspect>>,
): Inspector<Names> {
  const { device, vit: shape } = backbone;
  const table = normalizeTable(normalization);
  const names = Object.keys(aspects) as Names[];
  let current: Opened<Names> | undefined;

  const close = (): void => {
    current?.program[Symbol.dispose]();
    current?.pixels[Symbol.dispose]();
    current = undefined;
  };
  const open = async ({ rows, cols }: Size): Promise<Opened<Names>> => {
    const patches = patchGrid(shape, rows, cols); // throws before anything is allocated
    const pixels = input(device, [1, shape.channels, rows, cols], { label: "image" });
    try {
      const program = await record(device, () => {
        const observation = observe(shape, backbone.params, pixels);
        return Object.fromEntries(names.map((name) => [name, aspects[name](backbone, observation)])) as Record<
          Names,
          Tensor
        >;
      });
      return { size: { rows, cols }, patches, pixels, program };
    } catch (error) {
      pixels[Symbol.dispose]();
      throw error;
    }
  };

  return {
    async inspect(image) {
      if (current?.size.rows !== image.rows || current.size.cols !== image.cols) {
        close();
        current = await open(image);
      }
      const { pixels, program, patches } = current;
      pixels.write(normalize(image, table));
      await program.run();
      const values: [Names, Float32Array][] = [];
      for (const name of names) values.push([name, await program.read(name)]);
      return { ...(Object.fromEntries(values) as Record<Names, Float32Array>), ...patches };
    },
    [Symbol.dispose]: close,
  };
}

interface Opened<Names extends string> {
  /** Size of the image in pixels. */
  readonly size: Size;
  /** Size of the image in patches. */
  readonly patches: Size;
  readonly pixels: ReturnType<typeof input>;
  readonly program: Program<Names>;
}
