/** Reads and writes video files with the programs ffmpeg and ffprobe on the PATH. */
import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import type { Image } from "../images/pixels.js";

const MISSING =
  "a video file needs ffmpeg and ffprobe on the PATH (apt install ffmpeg, brew install ffmpeg, winget install ffmpeg, or " +
  "https://ffmpeg.org/download.html); a folder of frames needs neither";

/** A running program. */
interface Running {
  readonly stdout: AsyncIterable<Buffer> & NodeJS.ReadableStream;
  /** Resolves when the program succeeds; rejects with its stderr, or with advice if it is not installed. */
  readonly ended: Promise<void>;
  readonly stop: () => void;
}

function start(program: "ffmpeg" | "ffprobe", args: readonly string[], cwd?: string): Running {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], ...(cwd !== undefined && { cwd }) });
  const errors = text(child.stderr);
  const ended = new Promise<void>((resolve, reject) => {
    child.on("error", (error: NodeJS.ErrnoException) => {
      reject(error.code === "ENOENT" ? new Error(MISSING, { cause: error }) : error);
    });
    child.on("close", (code) => {
      if (code === 0) resolve();
      else void errors.then((message) => reject(new Error(`${program}: ${message.trim() || `exit code ${code}`}`)));
    });
  });
  ended.catch(() => undefined); // thrown when it is awaited
  return { stdout: child.stdout, ended, stop: () => void child.kill() };
}

/** Whether ffmpeg is on the PATH. */
export async function hasFfmpeg(): Promise<boolean> {
  const { ended, stdout } = start("ffmpeg", ["-version"]);
  stdout.resume();
  return ended.then(
    () => true,
    () => false,
  );
}

export interface VideoStream {
  /** Frames per second. */
  readonly fps: number;
  /** Approximate number of frames; 0 if the file does not give its duration. */
  readonly count: number;
}

/** Probes the first video stream of a file. Throws if ffprobe is missing or the file holds no video. */
export async function probeVideo(path: string): Promise<VideoStream> {
  const entries = "stream=avg_frame_rate,r_frame_rate,duration:format=duration";
  const words = ["-v", "error", "-select_streams", "v:0", "-show_entries", entries, "-of", "json", path];
  const { stdout, ended } = start("ffprobe", words);
  const [json] = await Promise.all([text(stdout), ended]);
  const { streams = [], format = {} } = JSON.parse(json) as Probed;
  const [stream] = streams;
  if (stream === undefined) throw new Error("expected a video, got a file without a video stream");
  const fps = toNumber(stream.avg_frame_rate) || toNumber(stream.r_frame_rate);
  if (fps === 0) throw new Error("the file does not give its frame rate; set it with --fps");
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

/** Parses a rate of ffprobe, "30000/1001"; 0 if unknown. */
function toNumber(rate = "0/1"): number {
  const [numerator = 0, denominator = 1] = rate.split("/").map(Number);
  return denominator > 0 ? numerator / denominator : 0;
}

/** Reads the frames of a video file at a rate, upright, one at a time. Throws if ffmpeg is missing or fails. */
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
/** Maximum length of a header. */
const MAX_HEADER_BYTES = 64;

/**
 * Parses a stream of binary PPM files, split anywhere into chunks. Throws for other formats, and for a truncated
 * picture. Format: https://netpbm.sourceforge.net/doc/ppm.html
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
          if (header.length > MAX_HEADER_BYTES) throw new Error("ppm: expected a binary PPM of 8 bits a channel");
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
  if (header !== "") throw new Error("ppm: the last picture is truncated");
}

export interface EncodeOptions {
  readonly folder: string;
  /** File names of the frames, with ffmpeg's placeholder for the number, which starts at 1: "frame-%06d.png". */
  readonly pattern: string;
  readonly count: number;
  /** Frames per second. */
  readonly fps: number;
  /** Name of the video in the folder; its extension determines the format. */
  readonly name: string;
}

/** Encodes numbered frames as a video with wide player support. Throws if ffmpeg is missing or fails. */
export async function encodeVideo({ folder, pattern, count, fps, name }: EncodeOptions): Promise<void> {
  const even = "pad=ceil(iw/2)*2:ceil(ih/2)*2"; // yuv420p subsamples colours by two in both directions
  const words = ["-v", "error", "-nostdin", "-y", "-framerate", String(fps), "-start_number", "1", "-i", pattern];
  const form = ["-frames:v", String(count), "-vf", even, "-pix_fmt", "yuv420p", "-movflags", "+faststart", name];
  const { stdout, ended } = start("ffmpeg", [...words, ...form], folder);
  stdout.resume();
  await ended;
}
