/** All settings of a training run: default, unit, help text and source. Flags and validation derive from them. */
import { backboneSettings } from "./backbone-settings.js";
import { cropSettings } from "./crop-settings.js";
import { methodSettings } from "./method-settings.js";
import { modelSettings } from "./model-settings.js";
import { optimizationSettings } from "./optimization-settings.js";
import { presetNames } from "./presets.js";
import { runSettings } from "./run-settings.js";
import { recipe, type Setting, textSetting } from "./setting.js";

/** All settings, in the order of the help. */
export const settings = {
  data: textSetting("builtin", {
    unit: "images",
    about:
      "images to train on: a folder, WebDataset shards, Parquet, IDX or CIFAR files, a mixture of them (see " +
      "below), or `builtin` for the built-in images",
    source: "ours",
    alias: "data-path",
  }),
  out: textSetting("runs/train", {
    unit: "folder",
    about: "folder of the run: settings, logs and checkpoints",
    source: "ours",
    alias: "output-dir",
  }),
  preset: recipe({
    unit: "name",
    about: `a recipe that other flags override: ${presetNames.join(", ")}; auto chooses by images and adapter; none for no preset`,
    source: "ours",
  }),

  ...methodSettings,
  ...modelSettings,
  ...backboneSettings,
  ...cropSettings,
  ...optimizationSettings,
  ...runSettings,
} as const satisfies Record<string, Setting<unknown>>;

/** The name of a setting: a flag of `dino train` in camelCase. */
export type SettingName = keyof typeof settings;

/** Every setting of a run. */
export type Config = {
  readonly [Name in SettingName]: (typeof settings)[Name] extends Setting<infer T> ? T : never;
};

/** Some settings, as in a preset or on a command line. */
export type PartialConfig = { readonly [Name in SettingName]?: Config[Name] };

export const settingNames = Object.keys(settings) as readonly SettingName[];

/** The defaults of all settings. */
export const defaultConfig = Object.fromEntries(settingNames.map((name) => [name, settings[name].default])) as Config;
