/**
 * Which folder may import which: `npm run lint` fails where an import goes up this list, or to a folder that is not in it. Since it
 * orders all folders, no circle of folders can be. Types count as values do, but for circles of files.
 */
const layers = [
  "engine/core",
  "engine/ops",
  "engine/ops/distillation",
  "engine/gradients",
  "engine/optimizers",
  "engine/adapters",
  "engine", // its door
  "dino/files",
  "dino/math",
  "dino/mpi",
  "dino/images",
  "dino/images/formats",
  "dino/images/sources",
  "dino/batches",
  "dino/config",
  "dino/model",
  "dino/weights/torch",
  "dino/weights",
  "dino/weights/export",
  "dino/evaluation",
  "dino/run",
  "dino/pictures",
  "dino/retrieval",
  "dino/exploration",
  "dino/segmentation",
  "dino/video",
  "dino/dashboard",
  "dino/explorer",
  "dino/training",
  "dino/experiments",
  "dino/commands",
  "dino", // its doors
  "dino/web/shell",
  "dino/web/dashboard",
  "dino/web/viewer",
  "dino/web/train",
  "dino/web/explore",
  "dino/web", // the builds of the pages
  "reference",
  "bench/figures",
  "bench/steps",
  "bench/peers",
  "bench/ranks",
  "bench/learning",
  "bench", // its door, and what it keeps
  "bench/gpu",
];

/** Doors of the engine, for whoever is outside of it. */
const doors = "^engine/(index|adapters/(node|browser))\\.ts$";

/** The files that lie in a folder itself. */
const within = (folder) => `^${folder}/[^/]+$`;

/** A circle of types alone compiles to no circle; these describe each other. */
const values = { dependencyTypesNot: ["type-only"] };

export default {
  forbidden: [
    {
      name: "no-circle",
      comment: "Files that import each other have no order in which to read them.",
      severity: "error",
      from: {},
      to: { circular: true, viaOnly: values },
    },
    ...layers.map((layer, i) => ({
      name: `${layer} looks up`,
      comment: "The layers are listed in .dependency-cruiser.js: move what is shared below what uses it.",
      severity: "error",
      from: { path: within(layer) },
      to: { path: [...layers.slice(i + 1).map(within), "^test/"] },
    })),
    {
      name: "no-layer",
      comment: "Give a new folder its place among the layers in .dependency-cruiser.js.",
      severity: "error",
      from: { path: "^(engine|dino|reference|bench)/", pathNot: layers.map(within) },
      to: {},
    },
    {
      name: "past-the-doors",
      comment: "dino sees the engine through its doors alone.",
      severity: "error",
      from: { path: "^dino/" },
      to: { path: "^engine/", pathNot: doors },
    },
    {
      name: "test-into-bench",
      comment: "Tests of the benches lie in test/bench; what others would share with a bench belongs to reference/.",
      severity: "error",
      from: { path: "^test/", pathNot: "^test/bench/" },
      to: { path: "^bench/" },
    },
    {
      name: "unresolved",
      severity: "error",
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["import", "require", "node", "default", "types"],
    },
  },
};
