/** Types of the builtins that wrapped entry points use. */
const TYPES = { local_invocation_index: "u32", workgroup_id: "vec3u", num_workgroups: "vec3u" };

/** What a wrapped entry point has at hand. */
export interface EntryPoint {
  /** Number of threads of a workgroup along x, y and z. */
  readonly size: readonly [string, string, string];
  /** Returns the name of a builtin value. */
  readonly named: (builtin: keyof typeof TYPES) => string;
}

/** What a wrapped entry point does around the original one, and values that this gets in place of its builtin ones. */
export interface Wrapping {
  readonly before: string;
  readonly after?: string;
  readonly given?: Readonly<Record<string, string>>;
}

/** Makes the entry point of a kernel without comments a function, and declares another that calls it. */
export function wrapEntryPoint(code: string, wrap: (entry: EntryPoint) => Wrapping): string {
  const [entry, sizes, header] = /@compute @workgroup_size\(([^)]*)\)\s*fn main\(([^]*?)\) \{/.exec(code) ?? [];
  if (entry === undefined || sizes === undefined || header === undefined) throw new Error("no entry point main");
  const own = [...header.matchAll(/@builtin\((\w+)\) (\w+): (\w+)/g)].map(([, builtin, name, type]) => {
    return { builtin: builtin!, name: name!, type: type! };
  });
  const added = Object.entries(TYPES)
    .filter(([builtin]) => own.every((each) => each.builtin !== builtin))
    .map(([builtin, type]) => ({ builtin, name: `wrapped_${builtin}`, type }));
  const all = [...own, ...added];
  const [x, y, z] = sizes.split(",").map((size) => `u32(${size.trim()})`);
  const { before, after, given } = wrap({
    size: [x!, y ?? "1u", z ?? "1u"],
    named: (builtin) => all.find((each) => each.builtin === builtin)!.name,
  });
  return `${code.replace(entry, `fn wrappedMain(${own.map(({ name, type }) => `${name}: ${type}`).join(", ")}) {`)}
@compute @workgroup_size(${sizes})
fn main(${all.map(({ builtin, name, type }) => `@builtin(${builtin}) ${name}: ${type}`).join(", ")}) {
  ${before}
  wrappedMain(${own.map(({ builtin, name }) => given?.[builtin] ?? name).join(", ")});
  ${after ?? ""}
}`;
}
