import { expect } from "chai";
import { distillation, download, fill, gradients, input, record, scalars, updateCenter } from "../../engine/index.js";
import { teacherTemperatureSchedule } from "../../dino/math/schedules.js";
import { testDevice } from "../support/device.js";
import { golden, relmax } from "./golden.js";

interface Case {
  readonly ncrops: number;
  readonly out_dim: number;
  readonly B: number;
  readonly warmup_teacher_temp: number;
  readonly teacher_temp: number;
  readonly warmup_teacher_temp_epochs: number;
  readonly nepochs: number;
  readonly student_temp: number;
  readonly center_momentum: number;
  readonly calls: readonly { readonly epoch: number; readonly loss: number; readonly center_norm_after: number }[];
}

describe("golden dino loss", () => {
  for (const [name, given] of Object.entries(golden.json<Record<string, Case>>("dino_loss"))) {
    it(`${name}: value, gradient and center over ${given.calls.length} calls`, async () => {
      const tensors = golden.tensors(`dino_loss_${name}`);
      const temperature = teacherTemperatureSchedule({
        warmupTemperature: given.warmup_teacher_temp,
        temperature: given.teacher_temp,
        warmupEpochs: given.warmup_teacher_temp_epochs,
        epochs: given.nepochs,
      });
      const device = await testDevice();
      using student = input(device, [given.ncrops * given.B, given.out_dim]);
      using teacher = input(device, [2 * given.B, given.out_dim]);
      using center = input(device, [1, given.out_dim]);
      using knobs = scalars(device, "temperature");
      using step = await record(device, () => {
        const { loss, teacherMean } = distillation(student, teacher, center, {
          studentTemperature: given.student_temp,
          teacherTemperature: knobs.temperature,
        });
        const [dStudent] = gradients(loss, fill([], 1), [student]);
        updateCenter(center, teacherMean, given.center_momentum);
        return { loss, dStudent: dStudent! };
      });
      for (const [i, call] of given.calls.entries()) {
        student.write(tensors.f32(`call${i}.student`));
        teacher.write(tensors.f32(`call${i}.teacher`));
        knobs.write({ temperature: temperature(call.epoch) });
        await step.run();
        const at = `call ${i}`;
        const after = await download(center);
        expect(relmax([await step.readScalar("loss")], [call.loss]), `${at} loss`).to.be.below(1e-5);
        expect(relmax(await step.read("dStudent"), tensors.f32(`call${i}.grad_student`)), at).to.be.below(2e-5);
        expect(relmax(after, tensors.f32(`call${i}.center_after`)), `${at} center`).to.be.below(3e-6);
        expect(relmax([Math.hypot(...after)], [call.center_norm_after]), `${at} center norm`).to.be.below(3e-6);
      }
    });
  }
});
