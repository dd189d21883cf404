import { rng } from "../../dino/math/random.js";
import type { Backbone } from "../../dino/model/backbone.js";
import type { VitConfig } from "../../dino/model/vit-config.js";
import { initVitParam, vitSpecs } from "../../dino/model/vit-params.js";
import { createParams, type Device, layoutOf } from "../../engine/index.js";

const tiny: VitConfig = {
  imageRows: 8,
  imageCols: 8,
  patch: 4,
  channels: 3,
  dim: 12,
  depth: 2,
  heads: 2,
  mlpRatio: 2,
  dropPathRate: 0,
};

/** An untrained backbone for images of 8 pixels in patches of 4, with weights whose features differ between images. */
export function tinyBackbone(device: Device, changes: Partial<VitConfig> = {}): Backbone {
  const shape: VitConfig = { ...tiny, ...changes };
  const specs = vitSpecs(shape);
  const params = createParams(device, layoutOf(specs), "backbone");
  const values = specs.map(({ name, shape: axes }) => {
    const random = rng({ seed: 1, purpose: name });
    return [name, initVitParam(shape, name, axes, 0.3, random)] as const;
  });
  params.write(new Map(values));
  return { device, vit: shape, params: (name) => params.get(name) };
}
