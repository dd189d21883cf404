/** Maps of an image: attention, features and similarity, from the selected patch. */
import { useMemo } from "preact/hooks";
import { attentionOf, type Focus, heat, similarityTo, opaque } from "./maps.js";
import { PatchMap } from "./patch-map.js";
import type { ImageView } from "./viewer-model.js";

interface SightMapsProps {
  readonly sight: ImageView;
  readonly focus: Focus;
  readonly choose: (focus: Focus) => void;
}

export function SightMaps({ sight, focus, choose }: SightMapsProps) {
  const { ofHeads, mean } = useMemo(() => attentionOf(sight, focus), [sight, focus]);
  const over = useMemo(
    () => ({ mean: heat(mean, sight), ofHeads: ofHeads.map((map) => heat(map, sight)) }),
    [ofHeads, mean, sight],
  );
  const colors = useMemo(() => opaque(sight.colors, sight), [sight]);
  const alike = useMemo(
    () => (focus === undefined ? undefined : heat(similarityTo(sight, focus), sight)),
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

function nameOf(focus: number, { cols }: ImageView): string {
  return `the patch in row ${Math.floor(focus / cols) + 1}, column ${(focus % cols) + 1}`;
}
