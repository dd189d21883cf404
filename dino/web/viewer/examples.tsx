/** Example images, for a model without an index. */
import { useEffect, useRef } from "preact/hooks";
import type { Example } from "./catalog.js";
import { opaque } from "./maps.js";
import { paint } from "./pictures.js";

interface ExamplesProps {
  readonly examples: readonly Example[];
  readonly show: (example: Example) => void;
}

export function Examples({ examples, show }: ExamplesProps) {
  return (
    <section aria-labelledby="examples">
      <h2 id="examples">Images it was not trained on</h2>
      <ul class="neighbors">
        {examples.map((example) => (
          <li key={example.name}>
            <button type="button" onClick={() => show(example)}>
              <Thumbnail {...example} />
              <span>{example.name}</span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Thumbnail({ image }: Example) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => paint(canvas.current!, opaque(image.pixels, image)), [image]);
  return <canvas ref={canvas} aria-hidden="true" />;
}
