/** The documents of this repository, parsed for checks of code, command lines, links and paths. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../..", import.meta.url));

/** A fenced block of code. */
export interface CodeBlock {
  readonly document: string;
  /** Line number of its first line, from 1. */
  readonly line: number;
  readonly language: string;
  /** False for fences with `no-run`, which are only compiled. */
  readonly runs: boolean;
  readonly text: string;
}

export interface Document {
  /** Its path in the repository, "/" between the parts. */
  readonly name: string;
  readonly text: string;
  readonly blocks: readonly CodeBlock[];
  /** Code within prose, without its backticks. */
  readonly spans: readonly string[];
  /** Targets of links and pictures, as written. */
  readonly links: readonly string[];
  /** Names of its headings in links. */
  readonly anchors: ReadonlySet<string>;
}

/** All documents, the README first. */
export function documents(): readonly Document[] {
  const within = (folder: string) =>
    readdirSync(join(root, folder))
      .filter((name) => name.endsWith(".md"))
      .sort()
      .map((name) => `${folder}/${name}`);
  const top = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].filter((name) =>
    existsSync(join(root, name)),
  );
  return [...top, ...within("docs"), ...within("bench")].map((name) =>
    parseDocument(name, readFileSync(join(root, name), "utf8")),
  );
}

export function parseDocument(name: string, text: string): Document {
  const prose: string[] = [];
  const blocks: CodeBlock[] = [];
  let open: { readonly line: number; readonly info: string; readonly lines: string[] } | undefined;
  for (const [i, line] of text.split("\n").entries()) {
    const [, fence] = /^\s*```(.*)$/.exec(line) ?? [];
    if (fence === undefined) (open?.lines ?? prose).push(line);
    else if (!open) open = { line: i + 2, info: fence, lines: [] };
    else {
      const [language = "", ...flags] = open.info.trim().split(/\s+/);
      const [runs, block] = [!flags.includes("no-run"), open.lines.join("\n")];
      blocks.push({ document: name, line: open.line, language, runs, text: block });
      open = undefined;
    }
  }
  if (open) throw new Error(`${name}:${open.line}: expected the fence to end`);
  const code = /`([^`\n]+)`/g;
  const plain = prose.map((line) => line.replaceAll(code, "code"));
  return {
    name,
    text,
    blocks,
    spans: prose.flatMap((line) => [...line.matchAll(code)].map(([, span]) => span!)),
    links: plain.flatMap((line) => [...line.matchAll(/\]\(([^()\s]+)\)/g)].map(([, target]) => target!)),
    anchors: new Set(prose.flatMap((line) => /^#+ (.*)$/.exec(line)?.[1] ?? []).map(anchorOf)),
  };
}

/** The name of a heading in links, as GitHub makes it. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}_ -]/gu, "")
    .replaceAll(" ", "-");
}

/** The commands of a block for a shell, as words, without comments and variables. */
export function shellCommands(text: string): readonly (readonly string[])[] {
  const commands: string[][] = [];
  for (const line of text.split("\n")) {
    let words: string[] = [];
    for (const [token] of line.matchAll(/#.*|&&|\|\||[;|]|(?:"[^"]*"|'[^']*'|[^\s;|&"'])+/g)) {
      if (token.startsWith("#")) break;
      if (/^(&&|\|\||[;|])$/.test(token)) {
        commands.push(words);
        words = [];
      } else words.push(token.replaceAll(/["']/g, ""));
    }
    commands.push(words);
  }
  return commands
    .map((words) => words.slice(words.findIndex((word) => !/^[A-Z_]+=/.test(word))))
    .filter((words) => words.length > 0);
}

/** Returns the output of a block of TypeScript on two classes, `photos/red` and `photos/blue`, of two images each. */
export function printedBy({ text }: CodeBlock): RegExp {
  if (text.includes("is most like")) return /^((red|blue)\/\d\.png is most like( (red|blue)\/\d\.png,?){3}\n?){4}$/;
  if (text.includes("softmax(x)")) return /^Float32Array\(6\) \[\s*0\.0900/;
  return /\w/;
}
