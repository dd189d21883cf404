/**
 * Reads kernels in the style of this project, and notes every access to workgroup memory; throws for what it does not understand.
 */

/** A variable of workgroup memory: an array, of numbers or vectors, or of atomic numbers of which only the first is used. */
export interface WorkgroupVariable {
  readonly name: string;
  /** Number of elements, a WGSL expression. */
  readonly elements: string;
  /** Type of an element. */
  readonly type: string;
  readonly isAtomic: boolean;
}

export function usesWorkgroupMemory(code: string): boolean {
  return code.includes("var<workgroup>");
}

export function withoutComments(code: string): string {
  return code.replace(/\/\*[^]*?\*\//g, "").replace(/\/\/.*$/gm, "");
}

/** Returns the variables of workgroup memory of a kernel without comments. */
export function workgroupVariables(code: string): readonly WorkgroupVariable[] {
  const found = [...code.matchAll(/^var<workgroup> (\w+): array<([\w<>]+), (.+)>;/gm)];
  if (found.length !== (code.match(/var<workgroup>/g)?.length ?? 0))
    throw new Error("a variable of workgroup memory is no array");
  return found.map(([, name, element, elements]) => ({
    name: name!,
    elements: elements!,
    type: element!,
    isAtomic: element!.startsWith("atomic"),
  }));
}

/** A function of a kernel. */
export interface WgslFunction {
  readonly name: string;
  readonly parameters: string;
  readonly body: string;
}

/** Rewrites the body of every function. */
export function mapFunctions(code: string, rewrite: (each: WgslFunction) => string): string {
  let rewritten = "";
  let end = 0;
  for (const { 0: opening, 1: name, index } of code.matchAll(/^fn (\w+)\(/gm)) {
    const open = index + opening.length - 1;
    const close = closing(code, open);
    const start = code.indexOf("{", close);
    const stop = closing(code, start);
    const body = rewrite({ name: name!, parameters: code.slice(open + 1, close), body: code.slice(start + 1, stop) });
    rewritten += code.slice(end, start + 1) + body;
    end = stop;
  }
  return rewritten + code.slice(end);
}

/** Whether a name means something else in a function than in the file. Throws where it may mean both. */
export function isShadowed(name: string, { parameters, body }: WgslFunction): boolean {
  if (new RegExp(`\\b${name}:`).test(parameters)) return true;
  if (!new RegExp(`\\b(let|var|const) ${name}\\b`).test(body)) return false;
  if (body.includes(`${name}[`))
    throw new Error(`${name} is a local variable and memory of the workgroup in one function`);
  return true;
}

/** WGSL functions that note an access: they take an index and return it. */
export interface Notes {
  readonly read: string;
  readonly write: string;
  /** A read and a write, as of `+=`. */
  readonly update: string;
}

/** Wraps the index of every access to an array in a text. Throws where the array is used in any other way. */
export function noteAccesses(text: string, name: string, notes: Notes): string {
  let rewritten = "";
  let end = 0;
  for (const { index } of text.matchAll(new RegExp(`(?<![\\w.])${name}\\b`, "g"))) {
    if (index < end) continue; // in an index that was rewritten already
    const open = index + name.length;
    const excerpt = JSON.stringify(text.slice(Math.max(0, index - 20), open + 40));
    if (text[open] !== "[" || text[index - 1] === "&") throw new Error(`expected ${name}[index] in ${excerpt}`);
    const close = closing(text, open);
    const isStatement = /[{};]\s*$/.test(text.slice(0, index));
    const [, operator] = /^ ([+\-*/&|^]?=) /.exec(text.slice(close + 1)) ?? [];
    if (isStatement && operator === undefined) throw new Error(`expected ${name}[index] = value in ${excerpt}`);
    const note = isStatement ? (operator === "=" ? notes.write : notes.update) : notes.read;
    rewritten += `${text.slice(end, open + 1)}${note}(${noteAccesses(text.slice(open + 1, close), name, notes)})]`;
    end = close + 1;
  }
  return rewritten + text.slice(end);
}

const PAIRS: Readonly<Record<string, string>> = { "(": ")", "[": "]", "{": "}" };

/** Returns where the bracket that opens at a position closes. */
function closing(text: string, open: number): number {
  const opening = text[open]!;
  let depth = 0;
  for (let i = open; i < text.length; i++) {
    if (text[i] === opening) depth++;
    else if (text[i] === PAIRS[opening] && --depth === 0) return i;
  }
  throw new Error(`nothing closes ${text.slice(open, open + 40)}`);
}
