import { expect } from "chai";
import { cropPosition } from "../../../dino/batches/crop-layout.js";
import { createCropMaker } from "../../../dino/batches/crop-maker.js";
import { drawCrops, officialAugmentation } from "../../../dino/images/augment.js";
import { rng } from "../../../dino/math/random.js";
import { download, input, sizeOf } from "../../../engine/index.js";
import { testDevice } from "../../support/device.js";

describe("crops made on the device", () => {
  it("lie where the layout says, the same whatever the number of parts", async () => {
    const device = await testDevice();
    const augment = { ...officialAugmentation, globalSize: { rows: 8, cols: 8 }, localCrops: 0 };
    const picture = { rows: 12, cols: 10 };
    const [images, crops, size] = [6, 2, 3 * 8 * 8];
    const random = rng({ seed: 2, purpose: "crop maker test" });
    const pixels = Uint32Array.from({ length: images * 120 }, () => random.integer(2 ** 24));
    const pictures = Array.from({ length: images }, (_, index) => ({
      cols: picture.cols,
      crops: drawCrops(augment, { seed: 1, epoch: 0, index }, picture),
    }));
    const made = async (parts: number) => {
      using out = input(device, [crops * images, 3, 8, 8]);
      const { mean, std } = augment;
      using maker = await createCropMaker(device, {
        pictures: images,
        parts,
        pixelsPerPicture: 120,
        groups: [{ crops, out }],
        mean,
        std,
      });
      maker.write(pixels, pictures);
      await maker.run();
      const all = await download(out);
      expect(all).to.have.length(sizeOf(out.shape));
      return (crop: number, image: number) => {
        const start = size * cropPosition({ crops, images, parts }, crop, image);
        return all.slice(start, start + size);
      };
    };
    const whole = await made(1);
    expect(whole(0, 0)).to.not.deep.equal(whole(0, 1));
    for (const parts of [2, 3, 6]) {
      const inParts = await made(parts);
      for (let crop = 0; crop < crops; crop++) {
        for (let image = 0; image < images; image++) {
          expect(inParts(crop, image), `crop ${crop} of ${image} in ${parts} parts`).to.deep.equal(whole(crop, image));
        }
      }
    }
  });
});
