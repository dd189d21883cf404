import { expect } from "chai";
import type { Config } from "../../../dino/config/settings.js";
import { collapseWatch, type CollapseSample } from "../../../dino/training/collapse.js";

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

  it("goes by the part of CLS tokens where the loss is a sum", () => {
    expect(watchFor(1000, { ...healthy, loss: lnK, clsLoss: healthy.loss })).to.deep.equal([]);
    expect(watchFor(1000, { ...healthy, clsLoss: lnK }).join()).to.contain("the loss stays at ln K");
  });

  it("names what befalls masked patches, once", () => {
    const single = watchFor(1000, { ...healthy, patchLoss: 0.001 });
    expect(single).to.have.length(1);
    expect(single[0]).to.match(/every masked patch gets the same target.*--teacher-temp/);
    const idle = watchFor(1000, { ...healthy, patchLoss: lnK });
    expect(idle).to.have.length(1);
    expect(idle[0]).to.match(/loss of masked patches stays at ln K = 4\.16.*--mask-ratio/);
    expect(watchFor(1000, { ...healthy, patchLoss: 0.5 * lnK })).to.deep.equal([]);
    expect(watchFor(1000, { ...healthy, clsLoss: lnK, patchLoss: lnK })).to.have.length(1); // the first cause alone
  });

  it("names features that are the same", () => {
    const said = watchFor(1000, { ...healthy, koleo: 9.2 });
    expect(said).to.have.length(1);
    expect(said[0]).to.match(
      /features of different images are the same \(KoLeo loss at 9\.2, a distance of 0\.0001\).*--koleo/,
    );
    expect(watchFor(1000, { ...healthy, koleo: 3 })).to.deep.equal([]);
  });

  it("waits until it lasts", () => {
    expect(watchFor(40, { loss: lnK, teacherEntropy: lnK, meanTargetEntropy: lnK })).to.deep.equal([]);
  });
});
