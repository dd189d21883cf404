/** The controls of the viewer: model, size, files and camera. */
import type { TakeFile } from "../shell/drop-area.js";
import { takesPictures } from "./input-image.js";
import type { Camera } from "./use-camera.js";
import { type CurrentModel, MODEL_FILE } from "./use-model.js";

interface ControlsProps {
  readonly model: CurrentModel;
  readonly camera: Camera;
  readonly pick: TakeFile;
}

export function Controls({ model, camera, pick }: ControlsProps) {
  return (
    <div class="controls">
      <ModelChoice model={model} />
      <SizeChoice model={model} />
      <label class="boxed file">
        Open an image or a model
        <input
          type="file"
          accept={`image/*,.npy,${MODEL_FILE}`}
          onChange={({ currentTarget }) => {
            const [file] = currentTarget.files ?? [];
            if (file) pick(file, file.name);
            currentTarget.value = ""; // so that the same file can be opened again
          }}
        />
      </label>
      {(model.opened === undefined || takesPictures(model.opened.facts)) && (
        <button type="button" disabled={!model.opened} onClick={camera.video ? camera.stop : camera.start}>
          {camera.video ? "Stop the camera" : "Use the camera"}
        </button>
      )}
    </div>
  );
}

function ModelChoice({ model: { models, chosen, choose, opened } }: { readonly model: CurrentModel }) {
  if (models === undefined || models.length === 0) return null;
  return (
    <>
      <label for="model">Model</label>
      <select id="model" value={chosen ?? ""} onChange={({ currentTarget: { value } }) => choose(value)}>
        {chosen === undefined && <option value="">{opened?.name}</option>}
        {models.map(({ name }) => (
          <option key={name}>{name}</option>
        ))}
      </select>
    </>
  );
}

function SizeChoice({ model: { opened, size, setSize } }: { readonly model: CurrentModel }) {
  if (!opened) return null;
  return (
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
  );
}
