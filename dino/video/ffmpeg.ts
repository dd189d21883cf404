/** Video files through the programs ffmpeg and ffprobe, where they are on the PATH: their frames in and out. */
import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import type { Image } from "../images/pixels.js";

const MISSING =
  "a video file needs ffmpeg and ffprobe on the PATH (apt install ffmpeg, brew install ffmpeg, winget install ffmpeg, or " +
  "https://ffmpeg.org/download.html); a folder of frames needs neither";

/** A program that has been started. */
interface Running {
  readonly stdout: AsyncIterable<Buffer> & NodeJS.ReadableStream;
  /** Resolves when it ends well; throws what it said on stderr, or how to get it where it is not installed. */
  readonly ended: Promise<void>;
  readonly stop: () => void;
}

function start(program: "ffmpeg" | "ffprobe", args: readonly string[], cwd?: string): Running {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], ...(cwd !== undefined && { cwd }) });
  const said = text(child.stderr);
  const ended = new Promise<void>((resolve, reject) => {
    child.on("error", (error: NodeJS.ErrnoException) => {
      reject(error.code === "ENOENT" ? new Error(MISSING, { cause: error }) : error);
    });
    child.on("close", (code) => {
      if (code === 0) resolve();
      else void said.then((words) => reject(new Error(`${program}: ${words.trim() || `ended with code ${code}`}`)));
    });
  });
  ended.catch(() => undefined); // thrown when it is awaited
  return { stdout: child.stdout, ended, stop: () => void child.kill() };
}

/** Is ffmpeg on the PATH? */
export async function hasFfmpeg(): Promise<boolean> {
  const { ended, stdout } = start("ffmpeg", ["-version"]);
  stdout.resume();
  return ended.then(
    () => true,
    () => false,
  );
}

export interface VideoStream {
  /** Frames a second. */
  readonly fps: number;
  /** About as many frames as there are; 0 where the file does not tell how long it is. */
  readonly count: number;
}

/** What a file says of its first video stream. Throws where ffprobe is missing or the file holds no video. */
export async function probeVideo(path: string): Promise<VideoStream> {
  const entries = "stream=avg_frame_rate,r_frame_rate,duration:format=duration";
  const words = ["-v", "error", "-select_streams", "v:0", "-show_entries", entries, "-of", "json", path];
  const { stdout, ended } = start("ffprobe", words);
  const [json] = await Promise.all([text(stdout), ended]);
  const { streams = [], format = {} } = JSON.parse(json) as Probed;
  const [stream] = streams;
  if (stream === undefined) throw new Error("expected a video, got a file without a video stream");
  const fps = toNumber(stream.avg_frame_rate) || toNumber(stream.r_frame_rate);
  if (fps === 0) throw new Error("the file does not tell its frames a second; give them with --fps");
  return { fps, count: Math.round(fps * (Number(stream.duration ?? format.duration) || 0)) };
}

interface Probed {
  readonly streams?: readonly {
    readonly avg_frame_rate?: string;
    readonly r_frame_rate?: string;
    readonly duration?: string;
  }[];
  readonly format?: { readonly duration?: string };
}

/** A rate as ffprobe writes it, "30000/1001"; 0 where it does not know one. */
function toNumber(rate = "0/1"): number {
  const [numerator = 0, denominator = 1] = rate.split("/").map(Number);
  return denominator > 0 ? numerator / denominator : 0;
}

/** The frames of a video file at a rate, upright and one after the other. Throws where ffmpeg is missing or fails. */
export async function* readVideo(path: string, fps: number): AsyncGenerator<Image> {
  const words = ["-v", "error", "-nostdin", "-i", path, "-map", "0:v:0", "-vf", `fps=${fps}`];
  const { stdout, ended, stop } = start("ffmpeg", [...words, "-f", "image2pipe", "-c:v", "ppm", "-"]);
  try {
    yield* parsePpm(stdout);
    await ended;
  } finally {
    stop();
  }
}

const PPM_HEADER = /^P6\s+(\d+)\s+(\d+)\s+255\s/;
/** No header is longer. */
const MOST_HEADER_BYTES = 64;

/**
 * The pictures of a stream of binary PPM files, cut anywhere into chunks. Throws for anything else, and for a picture that is
 * cut off. Format: https://netpbm.sourceforge.net/doc/ppm.html
 */
export async function* parsePpm(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Image> {
  let header = "";
  let image: Image | undefined;
  let filled = 0;
  for await (const chunk of stream) {
    let at = 0;
    while (at < chunk.length) {
      if (image === undefined) {
        header += String.fromCharCode(chunk[at++]!);
        const found = PPM_HEADER.exec(header);
        if (found === null) {
          if (header.length > MOST_HEADER_BYTES) throw new Error("ppm: expected a binary PPM of 8 bits a channel");
          continue;
        }
        const [cols, rows] = [Number(found[1]), Number(found[2])];
        image = { rows, cols, pixels: new Uint8Array(rows * cols * 3) };
      }
      const part = chunk.subarray(at, at + image.pixels.length - filled);
      image.pixels.set(part, filled);
      at += part.length;
      filled += part.length;
      if (filled < image.pixels.length) continue;
      yield image;
      [header, image, filled] = ["", undefined, 0];
    }
  }
  if (header !== "") throw new Error("ppm: the last picture is cut off");
}

export interface EncodeOptions {
  readonly folder: string;
  /** Of the frames in the folder, with ffmpeg's place for their number, from 1 on: "frame-%06d.png". */
  readonly pattern: string;
  readonly count: number;
  /** Frames a second. */
  readonly fps: number;
  /** Of the file in the folder that is written; its ending says which kind. */
  readonly name: string;
}

/** Makes a video out of numbered frames, in a form that players everywhere take. Throws where ffmpeg is missing or fails. */
export async function encodeVideo({ folder, pattern, count, fps, name }: EncodeOptions): Promise<void> {
  const even = "pad=ceil(iw/2)*2:ceil(ih/2)*2"; // yuv420p has half as many colours as pixels, both ways
  const words = ["-v", "error", "-nostdin", "-y", "-framerate", String(fps), "-start_number", "1", "-i", pattern];
  const form = ["-frames:v", String(count), "-vf", even, "-pix_fmt", "yuv420p", "-movflags", "+faststart", name];
  const { stdout, ended } = start("ffmpeg", [...words, ...form], folder);
  stdout.resume();
  await ended;
}
