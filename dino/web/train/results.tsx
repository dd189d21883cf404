/** k-NN accuracy before and after training. */
import type { Measurement } from "./browser-training.js";

const NAMES = { pixels: "Raw pixels", untrained: "Before training", trained: "After training" } as const;

export function Results({ measured }: { readonly measured: readonly Measurement[] }) {
  const [first] = measured;
  const [before, after] = (["untrained", "trained"] as const).map((of) => measured.find((one) => one.of === of)?.top1);
  return (
    <section aria-labelledby="results">
      <h2 id="results">What it learnt</h2>
      {first === undefined ? (
        <p class="quiet">Not measured yet.</p>
      ) : (
        <>
          <p class="quiet">
            k-NN accuracy on {first.testImages} held-out images, by 20 neighbours among {first.trainImages} training
            images, as in the demo.
          </p>
          <table>
            <tbody>
              {(Object.keys(NAMES) as Measurement["of"][]).map((of) => (
                <tr key={of}>
                  <th scope="row">{NAMES[of]}</th>
                  <td>{percent(measured.find((one) => one.of === of)?.top1)}</td>
                </tr>
              ))}
            </tbody>
          </table>
          {before !== undefined && after !== undefined && (
            <p>
              {after >= before ? "+" : "-"}
              {Math.abs(after - before).toFixed(1)} points over the untrained network.
            </p>
          )}
        </>
      )}
    </section>
  );
}

function percent(value: number | undefined): string {
  return value === undefined ? "-" : `${value.toFixed(1)} %`;
}
