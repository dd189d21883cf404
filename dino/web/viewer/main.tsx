/** The viewer: what a network sees in an image, computed on the visitor's own device. */
import { render } from "preact";
import { useCallback, useEffect, useMemo, useState } from "preact/hooks";
import type { Image } from "../../images/pixels.js";
import { Page, useHidden } from "../shell/page.js";
import { asTrouble, TroubleNote } from "../shell/trouble-note.js";
import type { Trouble } from "../shell/trouble.js";
import { openCamera } from "./camera.js";
import { answerOf, type Choice, type Fetched, findChoices } from "./catalog.js";
import { Examples } from "./examples.js";
import { attentionFrom, type Focus, heat, likenessTo, opaque } from "./maps.js";
import { Neighbors } from "./neighbors.js";
import { PatchMap } from "./patch-map.js";
import { frameOf, readPicture } from "./pictures.js";
import "./style.css";
import { startViewerThread } from "./thread.js";
import type { ModelFacts, Sight } from "./viewer-model.js";

/** Of a shorter side in pixels: the maps of smaller images are coarse. */
const LEAST_CLEAR = 96;
/** What names of files that hold models end in. */
const MODEL_FILE = ".safetensors";

/** Of a model that comes with nothing. */
const ALONE = { index: undefined, examples: [] } as const;

const { ask: thread, onFailure } = startViewerThread();

function Viewer() {
  const [models, setModels] = useState<readonly Choice[]>();
  const [chosen, choose] = useState<string>();
  const [opened, setOpened] = useState<{
    readonly name: string;
    readonly facts: ModelFacts;
    readonly with: Omit<Fetched, "file">;
  }>();
  const [size, setSize] = useState<number>();
  const [shown, show] = useState<{ readonly image: Image; readonly name: string }>();
  const [sight, setSight] = useState<Sight>();
  const [focus, setFocus] = useState<Focus>();
  const [working, setWorking] = useState<string>();
  const [trouble, setTrouble] = useState<Trouble>();
  /** Of the thread, which nothing mends but another one. */
  const [failure, setFailure] = useState<Trouble>();
  const [camera, setCamera] = useState<HTMLVideoElement>();
  const [isOver, setOver] = useState(false);
  const isHidden = useHidden();
  const isLive = camera !== undefined;

  /** Does something that takes a while, and says what went wrong. */
  const attempt = useCallback(async (words: string, work: () => Promise<void>) => {
    setWorking(words);
    setTrouble(undefined);
    try {
      await work();
    } catch (error) {
      setTrouble(asTrouble(error));
    }
    setWorking(undefined);
  }, []);

  const setFacts = (name: string, facts: ModelFacts, together: Omit<Fetched, "file"> = ALONE): void => {
    setOpened({ name, facts, with: together });
    setSize((before) =>
      before !== undefined && facts.sizes.includes(before)
        ? before
        : (facts.sizes.find((side) => side >= LEAST_CLEAR) ?? facts.sizes.at(-1)),
    );
    setFocus(undefined);
  };
  const pick = useCallback(
    (file: Blob, name: string) =>
      attempt(`Reading ${name}`, async () => {
        if (name.endsWith(MODEL_FILE)) {
          const bytes = new Uint8Array(await file.arrayBuffer());
          setFacts(name, await thread.open(bytes, undefined));
          choose(undefined);
        } else show({ image: await readPicture(file, name), name });
      }),
    [attempt],
  );
  const lookAt = useCallback(
    (address: string, name: string) =>
      attempt(`Fetching ${name}`, async () => {
        const image = await readPicture(await (await answerOf(address)).blob(), name);
        show({ image, name });
      }),
    [attempt],
  );

  useEffect(() => onFailure(setFailure), []);
  useEffect(() => {
    void attempt("Asking for models", async () => {
      const found = await findChoices();
      setModels(found);
      const comesFromTraining = new URL(document.referrer || location.href).pathname.endsWith("/train.html");
      choose((comesFromTraining ? found.at(-1) : found[0])?.name);
    });
  }, [attempt]);

  useEffect(() => {
    const model = models?.find(({ name }) => name === chosen);
    if (!model) return;
    void attempt(`Fetching ${model.name}`, async () => {
      const { file, ...together } = await model.fetch((what, bytes, total) => {
        setWorking(`Fetching ${what}: ${megabytes(bytes)}${total === undefined ? "" : ` of ${megabytes(total)}`} MB`);
      });
      setWorking("Opening the device");
      const { index, examples } = together;
      setFacts(model.name, await thread.open(file, index?.features), together);
      const [example] = examples;
      if (example) show(example);
      else if (index) void lookAt(index.picture(0), index.names.files[0]!);
    });
  }, [models, chosen, attempt, lookAt]);

  useEffect(() => {
    if (!opened || !shown || size === undefined || isLive) return;
    void attempt(`Looking at ${shown.name}`, async () => {
      setSight(await thread.look(shown.image, { size, keepColors: false }));
    });
  }, [opened, shown, size, isLive, attempt]);

  // The camera: a frame is looked at when the one before it is done, and none while nobody watches.
  useEffect(() => {
    if (!camera || !opened || size === undefined || isHidden) return;
    const ended = new AbortController();
    const watch = async () => {
      for (let keepColors = false; ; keepColors = true) {
        const seen = await thread.look(frameOf(camera, MOST_OF_FRAME), { size, keepColors });
        if (ended.signal.aborted) return;
        setSight(seen);
      }
    };
    watch().catch((error: unknown) => {
      setTrouble(asTrouble(error));
      setCamera(undefined);
    });
    return () => ended.abort();
  }, [camera, opened, size, isHidden]);
  useEffect(() => () => stop(camera), [camera]);

  useEffect(() => {
    const paste = ({ clipboardData }: ClipboardEvent) => {
      const [file] = clipboardData?.files ?? [];
      if (file) void pick(file, file.name);
    };
    document.addEventListener("paste", paste);
    return () => document.removeEventListener("paste", paste);
  }, [pick]);

  // The focus of one image may lie outside of another.
  const patches = sight === undefined ? 0 : sight.rows * sight.cols;
  const at = focus !== undefined && focus < patches ? focus : undefined;

  const again = () =>
    void attempt("Opening the device anew", async () => {
      setFacts(opened?.name ?? "", await thread.reopen(), opened?.with);
    });
  const drop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    const [file] = event.dataTransfer?.files ?? [];
    if (file) void pick(file, file.name);
  };

  return (
    <Page
      name="Viewer"
      title="DINO viewer"
      status={statusOf({ working, models, opened, sight, isHidden: isLive && isHidden })}
    >
      <div
        class={`drop ${isOver ? "over" : ""}`}
        onDragOver={(event) => {
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={drop}
      >
        <div class="controls">
          {models !== undefined && models.length > 0 && (
            <>
              <label for="model">Model</label>
              <select id="model" value={chosen ?? ""} onChange={({ currentTarget: { value } }) => choose(value)}>
                {chosen === undefined && <option value="">{opened?.name}</option>}
                {models.map(({ name }) => (
                  <option key={name}>{name}</option>
                ))}
              </select>
            </>
          )}
          {opened && (
            <>
              <label for="size">Shorter side</label>
              <select id="size" value={size} onChange={({ currentTarget: { value } }) => setSize(Number(value))}>
                {opened.facts.sizes.map((side) => (
                  <option key={side} value={side}>
                    {side} pixels
                  </option>
                ))}
              </select>
            </>
          )}
          <label class="boxed file">
            Open an image or a model
            <input
              type="file"
              accept={`image/*,${MODEL_FILE}`}
              onChange={({ currentTarget }) => {
                const [file] = currentTarget.files ?? [];
                if (file) void pick(file, file.name);
                currentTarget.value = ""; // so that the same file can be opened again
              }}
            />
          </label>
          <button
            type="button"
            disabled={!opened}
            onClick={() =>
              camera
                ? setCamera(undefined)
                : void attempt("Opening the camera", async () => setCamera(await openCamera()))
            }
          >
            {camera ? "Stop the camera" : "Use the camera"}
          </button>
        </div>
        {failure && <TroubleNote trouble={failure} />}
        {trouble && <TroubleNote trouble={trouble} {...(opened && { goOn: again })} />}
        {models?.length === 0 && !opened && (
          <p>
            No model is here yet. Open a checkpoint ({MODEL_FILE}), or serve the folder of a run that has one:{" "}
            <code>npx dino serve runs/demo</code>.
          </p>
        )}
        {opened && !sight && !working && <p>Drop or paste an image here, open one, or use the camera.</p>}
        {sight && <Maps {...{ sight, focus: at, choose: setFocus }} />}
        {sight && opened?.with.index && !isLive && (
          <Neighbors
            index={opened.with.index}
            neighbors={sight.neighbors}
            isOutdated={models?.find(({ name }) => name === opened.name)?.isOutdated ?? false}
            lookAt={(address, name) => void lookAt(address, name)}
          />
        )}
        {opened && opened.with.examples.length > 0 && <Examples examples={opened.with.examples} show={show} />}
      </div>
      {opened && <Facts {...opened} />}
    </Page>
  );
}

/** Longer frames of cameras are shrunk before they go to the thread. */
const MOST_OF_FRAME = 480;

interface MapsProps {
  readonly sight: Sight;
  readonly focus: Focus;
  readonly choose: (focus: Focus) => void;
}

function Maps({ sight, focus, choose }: MapsProps) {
  const { ofHeads, mean } = useMemo(() => attentionFrom(sight, focus), [sight, focus]);
  const over = useMemo(
    () => ({ mean: heat(mean, sight), ofHeads: ofHeads.map((map) => heat(map, sight)) }),
    [ofHeads, mean, sight],
  );
  const colors = useMemo(() => opaque(sight.colors, sight), [sight]);
  const alike = useMemo(
    () => (focus === undefined ? undefined : heat(likenessTo(sight, focus), sight)),
    [sight, focus],
  );
  const each = { sight, focus, choose };
  const from = focus === undefined ? "the whole image (its cls token)" : nameOf(focus, sight);
  return (
    <section aria-labelledby="seen">
      <h2 id="seen">What it sees</h2>
      <p class="quiet" aria-live="polite">
        Attention in the last block from {from}. Point at a patch, or move through them with the arrow keys.
      </p>
      <div class="maps large">
        <PatchMap title="Image" {...each} takesKeys />
        <PatchMap title="Attention, mean of all heads" over={over.mean} {...each} />
        <PatchMap title="Features as colours (PCA)" over={colors} sharp {...each} />
        <PatchMap title={focus === undefined ? "Alike: point at a patch" : "Patches alike"} over={alike} {...each} />
      </div>
      <h3>Each head</h3>
      <div class="maps">
        {over.ofHeads.map((painting, head) => (
          <PatchMap key={head} title={`Head ${head}`} over={painting} {...each} />
        ))}
      </div>
    </section>
  );
}

function nameOf(focus: number, { cols }: Sight): string {
  return `the patch in row ${Math.floor(focus / cols) + 1}, column ${(focus % cols) + 1}`;
}

function Facts({ name, facts }: { readonly name: string; readonly facts: ModelFacts }) {
  const { parameters, patch, dim, depth, heads, device } = facts;
  return (
    <p class="quiet">
      {name}: {(parameters / 1e6).toFixed(2)} million parameters, patches of {patch} pixels, {depth} blocks of {dim}{" "}
      channels and {heads} heads; computed here, on {device}.
    </p>
  );
}

interface Standing {
  readonly working: string | undefined;
  readonly models: readonly Choice[] | undefined;
  readonly opened: object | undefined;
  readonly sight: Sight | undefined;
  readonly isHidden: boolean;
}

function statusOf({ working, models, opened, sight, isHidden }: Standing): string {
  if (isHidden) return "The camera waits while this page is hidden";
  if (working !== undefined) return working;
  if (sight) return `Seen in ${Math.round(sight.ms)} ms`;
  return opened || models === undefined ? "" : countOf(models.length);
}

function countOf(models: number): string {
  return models === 1 ? "1 model" : `${models} models`;
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}

function stop(camera: HTMLVideoElement | undefined): void {
  for (const track of (camera?.srcObject as MediaStream | null | undefined)?.getTracks() ?? []) track.stop();
}

// What is dropped beside the place for it would replace the page.
for (const type of ["dragover", "drop"]) document.addEventListener(type, (event) => event.preventDefault());

render(<Viewer />, document.body);
