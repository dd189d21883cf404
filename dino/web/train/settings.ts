/** Settings of a training in the page. */
import { resolveConfig } from "../../config/resolve.js";
import { type Config, settings } from "../../config/settings.js";
import { BUILTIN } from "../../images/builtin.js";

/** Methods that the page offers, with their labels. */
export const METHODS = { dino: "DINO", dinov2: "DINOv2" } as const satisfies Record<Config["method"], string>;

/** Numbers that the page offers, with their labels. */
export const FIELDS = { steps: "Steps", batch: "Images a step", seed: "Seed" } as const;

export type Field = keyof typeof FIELDS;

/** Texts of the fields, and the method. */
export type Fields = Readonly<Record<Field, string>> & Pick<Config, "method">;

/** A shorter run of the demo's recipe. */
export const START: Fields = { method: "dino", steps: "200", batch: "32", seed: "0" };

/** Returns the configuration of the fields, or the error of each invalid field. */
export function configOf(
  fields: Fields,
): { readonly config: Config } | { readonly errors: Readonly<Partial<Record<Field, string>>> } {
  const values = new Map<Field, number>();
  const errors: Partial<Record<Field, string>> = {};
  for (const name of Object.keys(FIELDS) as Field[]) {
    const { parse, schema, expected } = settings[name];
    const text = fields[name].trim();
    const parsed = schema.safeParse(text === "" ? undefined : parse([text]));
    if (typeof parsed.data === "number") values.set(name, parsed.data);
    else errors[name] = `${FIELDS[name]}: expected ${expected.replace(", or auto", "")}, got ${text || "nothing"}`;
  }
  if (Object.keys(errors).length > 0) return { errors };
  const given = Object.fromEntries(values) as Readonly<Record<Field, number>>;
  return { config: resolveConfig({ data: BUILTIN, method: fields.method, logEvery: 5, ...given }) };
}
