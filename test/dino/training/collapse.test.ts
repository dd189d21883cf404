import { expect } from "chai";
import { collapseWatch, type CollapseSample } from "../../../dino/training/collapse.js";
import type { Config } from "../../../dino/config/settings.js";

const K = 64;
const lnK = Math.log(K);
const healthy = { loss: 0.6 * lnK, teacherEntropy: 0.4 * lnK, meanTargetEntropy: 0.9 * lnK };

/** Shows a watch the same sample every 20 steps up to `steps`, and returns what it said. */
function watchFor(
  steps: number,
  sample: Omit<CollapseSample, "step">,
  centering: Config["centering"] = "center",
): string[] {
  const watch = collapseWatch(K, centering);
  return Array.from({ length: steps / 20 + 1 }, (_, i) => watch({ step: 20 * i, ...sample })).filter(
    (words) => words !== undefined,
  );
}

describe("collapse", () => {
  it("says nothing of a run that learns", () => {
    expect(watchFor(1000, healthy)).to.deep.equal([]);
  });

  it("names uniform targets once, with what to change", () => {
    const said = watchFor(1000, { loss: lnK, teacherEntropy: 0.999 * lnK, meanTargetEntropy: lnK });
    expect(said).to.have.length(1);
    expect(said[0]).to.match(/targets are uniform \(entropy at ln K = 4\.16\).*--teacher-temp/);
  });

  it("names a single target for all images", () => {
    const said = watchFor(1000, { loss: 0.01, teacherEntropy: 0.001, meanTargetEntropy: 0.01 });
    expect(said).to.have.length(1);
    expect(said[0]).to.match(/same target \(entropy at 0\).*--center-momentum/);
  });

  it("gives advice that fits how the teacher is centered", () => {
    const single = { loss: 0.01, teacherEntropy: 0.001, meanTargetEntropy: 0.01 };
    expect(watchFor(1000, single, "sinkhorn").join())
      .to.match(/--sinkhorn-iterations/)
      .and.not.match(/--center-momentum/);
    const uniform = { loss: lnK, teacherEntropy: lnK, meanTargetEntropy: lnK };
    expect(watchFor(1000, uniform, "sinkhorn").join()).to.match(/--teacher-temp.*where all images look the same/);
  });

  it("does not mistake sharp targets that differ between images for collapse", () => {
    expect(watchFor(1000, { loss: 0.5, teacherEntropy: 0.001, meanTargetEntropy: 0.9 * lnK })).to.deep.equal([]);
  });

  it("says when the loss stays at ln K", () => {
    const said = watchFor(1000, { ...healthy, loss: lnK });
    expect(said).to.have.length(1);
    expect(said[0]).to.contain("the loss stays at ln K");
  });

  it("waits until it lasts", () => {
    expect(watchFor(40, { loss: lnK, teacherEntropy: lnK, meanTargetEntropy: lnK })).to.deep.equal([]);
  });
});
