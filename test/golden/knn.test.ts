import { expect } from "chai";
import { knnClassify } from "../../dino/evaluation/knn.js";
import { golden, relmax, type GoldenTensors } from "./golden.js";

interface Case {
  readonly classes: number;
  readonly ks: readonly number[];
  readonly T: number;
  readonly results: readonly { readonly k: number; readonly top1: number; readonly top5: number }[];
}

const rows = (tensors: GoldenTensors, name: string) => {
  const [count, dim] = tensors.shape(name) as [number, number];
  return { values: tensors.f32(name), rows: count, dim };
};

describe("golden knn", () => {
  for (const [name, given] of Object.entries(golden.json<Record<string, Case>>("knn"))) {
    it(`${name}: classes, percentages and votes for k ${given.ks.join(", ")}`, async () => {
      const tensors = golden.tensors(`knn_${name}`);
      const results = await knnClassify({
        train: rows(tensors, "train"),
        test: rows(tensors, "test"),
        trainLabels: tensors.i32("train_labels"),
        testLabels: tensors.i32("test_labels"),
        classes: given.classes,
        ks: given.ks,
        temperature: given.T,
      });
      expect(results.map(({ k }) => k)).to.deep.equal(given.results.map(({ k }) => k));
      for (const [i, { k, top1, top5 }] of given.results.entries()) {
        const result = results[i]!;
        expect([...result.predictions], `k ${k}`).to.deep.equal([...tensors.i32(`pred_k${k}`)]);
        expect(relmax(result.votes, tensors.f32(`probs_k${k}`)), `k ${k}`).to.be.below(2e-5);
        // The official percentages are a count times 100 over the rows, in float64 as here.
        expect([result.top1, result.top5], `k ${k}`).to.deep.equal([top1, top5]);
      }
    });
  }
});
