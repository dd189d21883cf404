/** Pictures of the teacher, from the first step on. */
import { useEffect, useMemo, useState } from "preact/hooks";
import { pictureKinds } from "../../run/picture-names.js";
import { TITLES } from "../dashboard/pictures.js";
import type { DrawnStep } from "./browser-training.js";

export function DrawnPictures({ drawn }: { readonly drawn: readonly DrawnStep[] }) {
  /** Selected index; undefined for the latest. */
  const [held, hold] = useState<number>();
  const latest = drawn.length - 1;
  const at = Math.min(held ?? latest, latest);
  const shown = drawn[at];
  if (shown === undefined) return null;
  return (
    <section aria-labelledby="pictures">
      <h2 id="pictures">What it sees</h2>
      <div class="controls">
        <label for="picture">After step</label>
        <input
          id="picture"
          type="range"
          min={0}
          max={latest}
          value={at}
          aria-valuetext={`step ${shown.step}`}
          onInput={({ currentTarget: { value } }) => hold(Number(value) === latest ? undefined : Number(value))}
        />
        <output for="picture">{shown.step}</output>
      </div>
      <div class="pictures">
        {pictureKinds.map((kind) => (
          <figure key={kind}>
            <figcaption>
              <h3>{TITLES[kind]}</h3>
            </figcaption>
            <PictureFile file={shown.pictures[kind]} words={`${TITLES[kind]} after ${shown.step} steps`} />
          </figure>
        ))}
      </div>
    </section>
  );
}

function PictureFile({ file, words }: { readonly file: Blob; readonly words: string }) {
  const address = useMemo(() => URL.createObjectURL(file), [file]);
  useEffect(() => () => URL.revokeObjectURL(address), [address]);
  return <img src={address} alt={words} />;
}
