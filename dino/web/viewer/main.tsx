/** The viewer: attention and features of any image, computed on the visitor's device. */
import { render } from "preact";
import { useCallback } from "preact/hooks";
import "./style.css";
import { DropArea } from "../shell/drop-area.js";
import { Page, useHidden } from "../shell/page.js";
import { TroubleNote } from "../shell/trouble-note.js";
import { useFailure } from "../shell/use-trouble.js";
import type { CatalogEntry } from "./catalog.js";
import { Controls } from "./controls.js";
import { Examples } from "./examples.js";
import { channelsInWords, takenFiles, takesPictures } from "./input-image.js";
import { Neighbors } from "./neighbors.js";
import { readPicture } from "./pictures.js";
import { SightMaps } from "./sight-maps.js";
import { startViewerThread } from "./thread.js";
import { useCamera } from "./use-camera.js";
import { useImage } from "./use-image.js";
import { MODEL_FILE, useModel } from "./use-model.js";
import { useFocus, useSight } from "./use-sight.js";
import { useTask } from "./use-task.js";
import type { ImageView } from "./viewer-model.js";
import type { ModelFacts } from "./viewer-model.js";

const { remote: thread, onFailure } = startViewerThread();

function Viewer() {
  const failure = useFailure(onFailure);
  const task = useTask();
  const { attempt, working, trouble } = task;
  const image = useImage(task);
  const { shown, show, lookAt } = image;
  const model = useModel(thread, task, image);
  const { models, opened, openFile, reopen } = model;
  const camera = useCamera(task);
  const isLive = camera.video !== undefined;
  const isHidden = useHidden();
  const sight = useSight(thread, task, { model, shown, camera, isHidden });
  const { focus, setFocus } = useFocus(opened, sight);
  const pick = useCallback(
    (file: Blob, name: string) =>
      void attempt(`Reading ${name}`, async () => {
        if (name.endsWith(MODEL_FILE)) await openFile(file, name);
        else show(await readPicture(file, name, takenFiles(opened?.facts ?? COLORS)));
      }),
    [attempt, opened],
  );

  return (
    <Page
      name="Viewer"
      title="DINO viewer"
      status={statusOf({ working, models, opened, sight, isHidden: isLive && isHidden })}
    >
      <DropArea pick={pick}>
        <Controls model={model} camera={camera} pick={pick} />
        {failure && <TroubleNote trouble={failure} />}
        {trouble && <TroubleNote trouble={trouble} {...(opened && { goOn: () => void reopen() })} />}
        {models?.length === 0 && !opened && (
          <p>
            No model is here yet. Open a checkpoint ({MODEL_FILE}), or serve the folder of a run that has one:{" "}
            <code>npx dino serve runs/demo</code>.
          </p>
        )}
        {opened && !sight && !working && <p>Drop or paste an image here, open one, or use the camera.</p>}
        {sight && <SightMaps sight={sight} focus={focus} choose={setFocus} />}
        {sight && opened?.index && !isLive && (
          <Neighbors
            index={opened.index}
            neighbors={sight.neighbors}
            isOutdated={models?.find(({ name }) => name === opened.name)?.isOutdated ?? false}
            lookAt={(index, row) => void lookAt(index, row)}
          />
        )}
        {opened && opened.examples.length > 0 && <Examples examples={opened.examples} show={show} />}
      </DropArea>
      {opened && <Facts name={opened.name} facts={opened.facts} />}
    </Page>
  );
}

/** What most networks take. */
const COLORS = { channels: 3, channelNames: null };

function Facts({ name, facts }: { readonly name: string; readonly facts: ModelFacts }) {
  const { parameters, patch, dim, depth, heads, device } = facts;
  const taken = takesPictures(facts) ? "" : ` of images of ${channelsInWords(facts)}`;
  return (
    <p class="quiet">
      {name}: {(parameters / 1e6).toFixed(2)} million parameters, patches of {patch} pixels{taken}, {depth} blocks of{" "}
      {dim} channels and {heads} heads; computed here, on {device}.
    </p>
  );
}

interface Standing {
  readonly working: string | undefined;
  readonly models: readonly CatalogEntry[] | undefined;
  readonly opened: object | undefined;
  readonly sight: ImageView | undefined;
  readonly isHidden: boolean;
}

function statusOf({ working, models, opened, sight, isHidden }: Standing): string {
  if (isHidden) return "The camera waits while this page is hidden";
  if (working !== undefined) return working;
  if (sight) return `Computed in ${Math.round(sight.ms)} ms`;
  return opened || models === undefined ? "" : countOf(models.length);
}

function countOf(models: number): string {
  return models === 1 ? "1 model" : `${models} models`;
}

// A file that is dropped beside the drop area would replace the page.
for (const type of ["dragover", "drop"]) document.addEventListener(type, (event) => event.preventDefault());

render(<Viewer />, document.body);
