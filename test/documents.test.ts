import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, posix } from "node:path";
import { promisify } from "node:util";
import { expect } from "chai";
import type { Command } from "commander";
import { transformSync } from "esbuild";
import ts from "typescript";
import { program } from "../dino/cli.js";
import { readFlags } from "../dino/commands/train.js";
import { drawFolder, writeTinyCheckpoint } from "./support/command-line.js";
import { compiledModule } from "./support/compiled-program.js";
import { type CodeBlock, documents, parseDocument, printedBy, root, shellCommands } from "./support/documents.js";
import { rejection } from "./support/rejection.js";

const run = promisify(execFile);
const all = documents();
const blocksOf = (...languages: readonly string[]) =>
  all.flatMap(({ blocks }) => blocks).filter(({ language }) => languages.includes(language));

interface PackageFile {
  readonly scripts: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, string>>;
}

const { scripts, exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as PackageFile;

/** The source behind each name that programs import: `dino-webgpu/engine` is `engine/index.ts`. */
const sources = new Map(
  Object.entries(exports).flatMap(([name, file]) => {
    const [, module] = /^\.\/dist\/(.*)\.js$/.exec(file) ?? [];
    return module === undefined ? [] : [[posix.join("dino-webgpu", name), `${module}.ts`] as const];
  }),
);

describe("documents", () => {
  it("lead somewhere with every link", () => {
    for (const { name, links, anchors } of all) {
      for (const link of links) {
        if (/^(https?|mailto):/.test(link)) continue;
        const [path = "", anchor] = link.split("#");
        const target = path === "" ? name : posix.join(dirname(name), path);
        expect(existsSync(join(root, target)), `${name}: ${link}`).to.equal(true);
        if (anchor === undefined) continue;
        const there = target === name ? anchors : all.find((document) => document.name === target)?.anchors;
        expect(there?.has(anchor), `${name}: ${link}`).to.equal(true);
      }
    }
  });

  it("name files that exist", () => {
    for (const { name, spans } of all) {
      for (const span of spans) {
        if (!/^(shaders|engine|dino|bench|test|docs|\.ci|\.readme)\/[\w./-]*$/.test(span) || /[A-Z]{3}/.test(span))
          continue;
        expect(existsSync(join(root, span)), `${name}: ${span}`).to.equal(true);
      }
    }
  });

  it("begin with a README of at most 150 lines", () => {
    expect(all[0]!.name).to.equal("README.md");
    expect(all[0]!.text.trimEnd().split("\n").length).to.be.at.most(150);
  });

  it("list every command in the README", async () => {
    const names = (await program()).commands.map((command) => command.name());
    const listed = all[0]!.spans.flatMap((span) => /^dino ([a-z]+)$/.exec(span)?.[1] ?? []);
    expect(listed).to.have.members(names);
  });

  it("are read as they are written", () => {
    const text =
      "# A `b`, c\n[x](y.md#z) `p | q`\n```ts no-run\nlet a;\n```\n```sh\nA=1 npx dino knn -k '1 2' # no | more\n```\n";
    const { blocks, spans, links, anchors } = parseDocument("a.md", text);
    expect(blocks.map(({ line, language, runs }) => [line, language, runs])).to.deep.equal([
      [4, "ts", false],
      [7, "sh", true],
    ]);
    expect({ spans, links, anchors: [...anchors] }).to.deep.equal({
      ...{ spans: ["b", "p | q"], links: ["y.md#z"], anchors: ["a-b-c"] },
    });
    expect(shellCommands(`${blocks[1]!.text}\nx && y`)).to.deep.equal([
      ["npx", "dino", "knn", "-k", "1 2"],
      ["x"],
      ["y"],
    ]);
  });
});

describe("command lines in documents", function () {
  this.timeout(120_000);

  /** Flags of the benches, by the name of their script. */
  const benchFlags = new Map<string, ReadonlySet<string>>();
  let dinoFlags: ReadonlySet<string>;
  before(async () => {
    for (const name of ["bench", "bench:gpu"]) {
      const words = scripts[name]!.split(" ").slice(1);
      const { stdout } = await run(process.execPath, [...words, "--help"], { cwd: root });
      benchFlags.set(name, new Set([...stdout.matchAll(/^ +(--[\w-]+)/gm)].map(([, flag]) => flag!)));
    }
    dinoFlags = new Set((await program()).commands.flatMap(flagsOf));
  });

  it("give commands what they take", async () => {
    const lines = blocksOf("sh", "yaml").flatMap((block) => commandsOf(block).map((words) => ({ block, words })));
    let checked = 0;
    for (const { block, words } of lines) {
      const complaint = await rejectionOf(() => check(words, { isWhole: true }));
      expect(complaint, `${block.document}:${block.line}: ${words.join(" ")}`).to.equal(undefined);
      if (words.includes("dino")) checked++;
    }
    expect(checked).to.be.above(30);
  });

  it("give commands what they take where prose names them", async () => {
    for (const { name, spans } of all) {
      for (const span of spans) {
        const [words = []] = shellCommands(span);
        const complaint = await rejectionOf(() => check(words, { isWhole: false }));
        expect(complaint, `${name}: ${span}`).to.equal(undefined);
      }
    }
  });

  it("name no flag that is not there", () => {
    for (const { name, spans } of all.filter(({ name }) => !name.startsWith("bench/"))) {
      for (const span of spans) {
        const [flag] = /^--?[a-z][\w-]*/.exec(span) ?? [];
        if (flag === undefined) continue;
        const isKnown = [dinoFlags, ...benchFlags.values()].some((flags) => flags.has(flag)) || flag === "-g";
        expect(isKnown, `${name}: ${span}`).to.equal(true);
      }
    }
  });

  it("would be found out", async () => {
    const refused = async (line: string, isWhole = true) => rejection(check(shellCommands(line)[0]!, { isWhole }));
    expect(await refused("npx dino trian --data photos")).to.include("trian");
    expect(await refused("npx dino train --data photos --patch_size 16")).to.include("--patch_size");
    expect(await refused("npx dino train --data photos --preset vit-x")).to.include("--preset");
    expect(await refused("npx dino attend cat.jpg")).to.include("--checkpoint");
    expect(await refused("dino knn --neighbours 20", false)).to.include("--neighbours");
    expect(await refused("npm run demo -- --step 4")).to.include("--step");
    expect(await refused("npm run bench -- --fliter softmax")).to.include("--fliter");
    expect(await refused("npm run bench:gpu -- --filter softmax")).to.include("--filter");
    expect(await refused("npm run tests")).to.include("tests");
    expect(await refused("npx mocha test/opps.test.ts")).to.include("opps");
  });

  /** Checks a command line as far as this repository knows the program; throws what is wrong with it. */
  async function check(words: readonly string[], { isWhole }: { readonly isWhole: boolean }): Promise<void> {
    const dino = words.indexOf("dino");
    if (dino === 0 || words[dino - 1] === "npx") return checkDino(words.slice(dino + 1), isWhole);
    if (words[0] === "npx" && words[1] === "mocha") {
      const missing = words.filter((word) => word.endsWith(".ts") && !existsSync(join(root, word)));
      if (missing.length > 0) throw new Error(`no such test: ${missing.join(", ")}`);
    }
    if (words[0] !== "npm" || words[1] !== "run") return;
    const [name = "", dashes, ...rest] = words.slice(2);
    const script = scripts[name];
    if (script === undefined) throw new Error(`package.json has no script ${name}`);
    if (dashes !== "--") return;
    const [, command] = /^node dino\/dino\.js ?(.*)$/.exec(script) ?? [];
    if (command !== undefined) return checkDino([...command.split(" ").filter(Boolean), ...rest], isWhole);
    const unknown = rest.filter((word) => word.startsWith("--") && !benchFlags.get(name)?.has(word));
    if (unknown.length > 0) throw new Error(`npm run ${name} has no ${unknown.join(", ")}`);
  }
});

/** Throws for a command that is not there, and for flags that it does not take; of a whole line also for what is missing in it. */
async function checkDino([name = "", ...words]: readonly string[], isWhole: boolean): Promise<void> {
  if (["help", "--help", "COMMAND"].includes(name) || (name === "" && !isWhole)) return;
  const dino = await program(name);
  const command = dino.commands.find((command) => command.name() === name);
  if (!command) throw new Error(`there is no dino ${name}`);
  if (!isWhole) {
    const flags = flagsOf(command);
    const unknown = words.filter((word) => /^--?[a-z]/.test(word) && !flags.includes(word));
    if (unknown.length > 0) throw new Error(`dino ${name} has no ${unknown.join(", ")}`);
    return;
  }
  command.action(() => undefined);
  await dino.parseAsync([name, ...words], { from: "user" });
  if (["train", "crops", "sweep", "analyse"].includes(name)) readFlags(command.opts());
}

function flagsOf({ options }: Command): readonly string[] {
  return [...options.flatMap(({ long, short }) => [long, short].filter((flag) => flag !== undefined)), "--help"];
}

async function rejectionOf(work: () => Promise<unknown>): Promise<string | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/** The command lines of a block: of a shell, or lists of words in YAML. */
function commandsOf({ language, text }: CodeBlock): readonly (readonly string[])[] {
  if (language === "sh") return shellCommands(text);
  return [...text.matchAll(/command: \[(.*)\]/g)].map(([, list]) =>
    list!.split(",").map((word) => word.trim().replaceAll('"', "")),
  );
}

describe("code in documents", function () {
  this.timeout(120_000);

  const blocks = blocksOf("ts");

  it("is written in languages that are checked", () => {
    const languages = new Set(all.flatMap(({ blocks: ofPage }) => ofPage.map(({ language }) => language)));
    expect([...languages].filter((language) => !["ts", "sh", "yaml", ""].includes(language))).to.deep.equal([]);
    expect(blocks.length).to.be.above(3);
  });

  it("compiles", () => {
    const wrong = { ...blocks[0]!, document: "wrong.md", text: `${blocks[0]!.text}\nmodel.embed();` };
    const mistakes = mistakesIn([...blocks, wrong]);
    expect(mistakes.filter((mistake) => !mistake.startsWith("wrong.md"))).to.deep.equal([]);
    expect(mistakes).to.have.length(1);
  });

  describe("runs", () => {
    let folder: string;
    before(async () => {
      folder = await mkdtemp(join(tmpdir(), "documents-"));
      await mkdir(join(folder, "runs/demo"), { recursive: true });
      await writeTinyCheckpoint(join(folder, "runs/demo/checkpoint.safetensors"));
      await drawFolder(join(folder, "photos"), 2);
    });
    after(() => rm(folder, { recursive: true }));

    for (const block of blocks.filter(({ runs }) => runs)) {
      it(`at ${block.document}:${block.line}`, async () => {
        const { code } = transformSync(block.text, { loader: "ts", target: "es2023" });
        const path = join(folder, "program.mjs");
        const imported = code.replaceAll(
          /from "(dino-webgpu[^"]*)"/g,
          (_, name: string) => `from "${compiledModule(sources.get(name)!)}"`,
        );
        await writeFile(path, imported);
        const { stdout } = await run(process.execPath, [path], { cwd: folder });
        expect(stdout.trim()).to.match(printedBy(block));
      });
    }
  });
});

/** What the compiler says of blocks that import this package. */
function mistakesIn(blocks: readonly CodeBlock[]): readonly string[] {
  const { config } = ts.readConfigFile(join(root, "tsconfig.json"), (path) => ts.sys.readFile(path)) as {
    readonly config: object;
  };
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
  const paths = Object.fromEntries([...sources].map(([name, file]) => [name, [join(root, file)]]));
  const texts = new Map(blocks.map(({ text }, i) => [join(root, `test/document-${i}.ts`), text]));
  const whole = { ...options, paths, noEmit: true, declaration: false };
  const host = ts.createCompilerHost(whole);
  const usual = { ...host };
  host.fileExists = (path) => texts.has(path) || usual.fileExists(path);
  host.readFile = (path) => texts.get(path) ?? usual.readFile(path);
  host.getSourceFile = (path, ...rest) => {
    const text = texts.get(path);
    return text === undefined ? usual.getSourceFile(path, ...rest) : ts.createSourceFile(path, text, rest[0]);
  };
  const compiled = ts.createProgram([...texts.keys()], whole, host);
  return blocks.flatMap(({ document, line }, i) => {
    const source = compiled.getSourceFile(join(root, `test/document-${i}.ts`));
    const found = [...compiled.getSyntacticDiagnostics(source), ...compiled.getSemanticDiagnostics(source)];
    return found.map(({ messageText, start = 0 }) => {
      const at = source!.getLineAndCharacterOfPosition(start).line;
      return `${document}:${line + at}: ${ts.flattenDiagnosticMessageText(messageText, " ")}`;
    });
  });
}
