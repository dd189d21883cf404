import {
  concat,
  createParams,
  distillation,
  input,
  layoutOf,
  parameterGradients,
  type Params,
  type Program,
  record,
  scalars,
  stopGradient,
  type Tensor,
  updateCenter,
} from "../engine/index.js";
import type { Device } from "../engine/device.js";
import { adamw, ema } from "../engine/optimizer.js";
import { head, type HeadConfig, headSpecs, initHeadParam } from "../dino/head.js";
import { rng } from "../dino/random.js";
import { initVitParam, scope, vit, type VitConfig, vitSpecs } from "../dino/vit.js";
import { numbers } from "./rows.js";

/** How large a step is. */
export interface StepSize {
  /** Images; each gives 2 global and 8 local crops. */
  readonly batch: number;
  readonly globalSize: number;
  readonly localSize: number;
  readonly dim: number;
  readonly prototypes: number;
}

/** ViT-Ti with patches of 16: on a GPU the official crops and head, in software what takes seconds. */
export const STEP_SIZE = {
  gpu: { globalSize: 224, localSize: 96, dim: 192, prototypes: 65536 },
  software: { globalSize: 96, localSize: 48, dim: 192, prototypes: 8192 },
} as const satisfies Record<string, Omit<StepSize, "batch">>;

export interface Step extends Disposable {
  readonly program: Program<"loss">;
  /** Largest deviation of the loss, which starts at log(prototypes), relative to that. */
  check(): Promise<number>;
}

/** A whole training step as DINO takes it: both networks, the loss, the gradients, the optimizer, teacher and center. */
export async function recordStep(device: Device, size: StepSize): Promise<Step> {
  const { batch, globalSize, localSize, dim, prototypes } = size;
  const backbone: VitConfig = {
    imageRows: globalSize,
    imageCols: globalSize,
    patch: 16,
    dim,
    depth: 12,
    heads: 3,
    mlpRatio: 4,
    channels: 3,
    dropPathRate: 0,
  };
  const projection: HeadConfig = {
    inDim: dim,
    hidden: 2048,
    bottleneck: 256,
    out: prototypes,
    layers: 3,
    batchNorm: false,
    normLastLayer: true,
  };

  const owned: Disposable[] = [];
  const own = <T extends Disposable>(x: T): T => {
    owned.push(x);
    return x;
  };
  const student = own(initNetwork(device, "student", backbone, projection));
  const teacher = own(initNetwork(device, "teacher", backbone, projection));
  const optimizer = own(adamw(student));
  const center = own(input(device, [prototypes], { label: "center" }));
  const knobs = own(scalars(device, "lr", "weightDecay", "momentum", "temperature"));
  knobs.write({ lr: 1e-4, weightDecay: 0.04, momentum: 0.996, temperature: 0.04 });
  const images = (count: number, side: number) => {
    const x = own(input(device, [count, 3, side, side], { label: "images" }));
    x.write(numbers(x.shape, side).data);
    return x;
  };
  const globals = images(2 * batch, globalSize);
  const locals = images(8 * batch, localSize);

  const network = (params: Params, crops: readonly Tensor[]): Tensor => {
    const lookup = (name: string) => params.get(name);
    const features = crops.map((x) => vit(backbone, scope(lookup, "backbone."), x)); // each [crops, dim]
    return head(projection, scope(lookup, "head."), concat(features, 0)); // [crops, prototypes]
  };
  const program = own(
    await record(device, () => {
      const teacherLogits = stopGradient(network(teacher, [globals]));
      const studentLogits = network(student, [globals, locals]);
      const { loss } = distillation(studentLogits, teacherLogits, center, {
        studentTemperature: 0.1,
        teacherTemperature: knobs.temperature,
      });
      const grads = parameterGradients(loss, student);
      optimizer.step(grads, { lr: knobs.lr, weightDecay: knobs.weightDecay, clip: 3 });
      ema(teacher, student, knobs.momentum);
      updateCenter(center, teacherLogits, 0.9);
      return { loss };
    }),
  );
  return {
    program,
    async check() {
      await program.run();
      return Math.abs((await program.readScalar("loss")) / Math.log(prototypes) - 1);
    },
    [Symbol.dispose]() {
      for (const x of owned) x[Symbol.dispose]();
    },
  };
}

function initNetwork(device: Device, label: string, backbone: VitConfig, projection: HeadConfig): Params {
  const named = (prefix: string, specs: ReturnType<typeof vitSpecs>) =>
    specs.map((spec) => ({ ...spec, name: prefix + spec.name }));
  const layout = layoutOf([...named("backbone.", vitSpecs(backbone)), ...named("head.", headSpecs(projection))]);
  const params = createParams(device, layout, label);
  const random = rng({ seed: 1, purpose: "bench step" });
  params.write(
    new Map(
      layout.entries.map(({ name, shape }) => [
        name,
        name.startsWith("backbone.")
          ? initVitParam(backbone, name.slice("backbone.".length), shape, 0.02, random)
          : initHeadParam(projection, name.slice("head.".length), shape, random),
      ]),
    ),
  );
  return params;
}
