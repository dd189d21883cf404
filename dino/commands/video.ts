/** `dino video` */
import { realpath } from "node:fs/promises";
import { resolve } from "node:path";
import { type Command, Option } from "commander";
import { openDevice } from "../../engine/adapters/node.js";
import { lazyProgress } from "../files/progress.js";
import { openFrames } from "../video/frames.js";
import { attendVideo, shows, type Show } from "../video/video.js";
import { loadModel } from "../weights/load-model.js";
import { positive, share, UsageError, wholeNumber } from "./flags.js";
import { addCheckpointOptions, type CheckpointOptions } from "./model.js";
import { print, printToStderr, printJson } from "./output.js";
import { addPictureSizeOption, pictureSize, type PictureSizeOptions } from "./picture-size.js";

interface VideoOptions extends CheckpointOptions, PictureSizeOptions {
  readonly out: string;
  readonly show: Show;
  readonly head?: number;
  readonly threshold?: number;
  readonly fps?: number;
  readonly overwrite?: true;
  readonly json?: true;
}

export function addVideo(dino: Command): void {
  const command = dino.command("video").argument("<video>", "folder of frames, or a video file (needs ffmpeg)");
  addPictureSizeOption(addCheckpointOptions(command, "attention"))
    .description("draw the attention of the cls token in the last block for every frame of a video")
    .requiredOption("--out <folder>", "folder for the frames and the video")
    .addOption(
      new Option(
        "--show <what>",
        "map: attention alone; overlay: the frame under the map; side-by-side: the frame, then the overlay",
      )
        .choices(shows)
        .default("map"),
    )
    .option("--head <number>", "one head, counted from 0 (default: the mean of all heads)", wholeNumber)
    .option(
      "--threshold <share>",
      "show only the patches that hold this share of a frame's attention; 0.6 outlines objects",
      share,
    )
    .option(
      "--fps <rate>",
      "frames per second to read from a file and to play at (default: the file's, 30 for a folder)",
      positive,
    )
    .option("--overwrite", "replace existing frames in --out")
    .option("--json", "print the result as JSON and nothing else")
    .addHelpText(
      "after",
      "\nExample:\n" +
        "  dino video --checkpoint runs/photos/checkpoint.safetensors dog.mp4 --out runs/photos/dog --show side-by-side",
    )
    .action(async (path: string, options: VideoOptions) => {
      const { out, show, head, threshold } = options;
      if ((await realpath(path).catch(() => path)) === (await realpath(out).catch(() => resolve(out)))) {
        throw new UsageError(`--out ${out}: expected a folder other than that of the frames`);
      }
      using device = await openDevice();
      using model = await loadModel(device, options.checkpoint, options.which);
      const frames = await openFrames(path, { fps: options.fps, reading: model.config });
      const { heads } = model.vit;
      if (head !== undefined && head >= heads) {
        throw new UsageError(`--head ${head}: the network has ${heads}, counted from 0 to ${heads - 1}`);
      }
      using attending = lazyProgress("attention");
      using drawing = lazyProgress("pictures");
      const video = await attendVideo({
        model,
        frames,
        out,
        show,
        size: pictureSize(options, model),
        overwrite: options.overwrite === true,
        ...(head !== undefined && { head }),
        ...(threshold !== undefined && { share: threshold }),
        onAttended: attending.report,
        onDrawn: drawing.report,
      });
      if (options.json) {
        printJson({ checkpoint: options.checkpoint, which: options.which, out, ...video });
        return;
      }
      if (!video.usedFfmpeg) printToStderr("ffmpeg is not on the PATH; wrote an animation instead of a video");
      print(
        `${out}   ${video.frames} frames of ${video.cols} x ${video.rows} pixels, frame-000001.png and so on`,
        `${video.video}   at ${Number(video.fps.toFixed(3))} frames per second`,
      );
    });
}
