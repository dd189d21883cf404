/**
 * Writer of TensorBoard event files: TFRecord records of Event messages
 * (https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto).
 */
import { appendFile, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  viewBytes,
  double,
  type Encoded,
  float,
  integer,
  concatenate,
  message,
  sequence,
  stringField,
} from "../files/protobuf.js";
import type { Log, LogLine } from "./log.js";

/** Names of our event files: TensorBoard requires the first two parts; the time in seconds sorts later files last. */
const OURS = /^events\.out\.tfevents\.\d+\.dino$/;

/**
 * Replaces the event files of a run by one with the lines of its log, so that no step occurs twice when a run is
 * resumed; returns a function that appends lines. A running TensorBoard discards what it read before.
 */
export async function openEvents(
  out: string,
  { steps, epochs, evaluations }: Log,
): Promise<(line: LogLine) => Promise<void>> {
  await removeEvents(out);
  const path = join(out, `events.out.tfevents.${String(Math.floor(Date.now() / 1000)).padStart(10, "0")}.dino`);
  const lines = [...new Set<LogLine>([...steps, ...epochs, ...evaluations])].sort((a, b) => a.step - b.step);
  await writeFile(path, concatenate(sequence([record(fileVersion), record(restart(0)), ...lines.map(recordOf)])));
  return (line) => appendFile(path, concatenate(recordOf(line)));
}

/** Removes our event files from a folder. */
export async function removeEvents(out: string): Promise<void> {
  for (const name of await readdir(out)) if (OURS.test(name)) await rm(join(out, name));
}

function recordOf(line: LogLine): Encoded {
  const values = Object.entries(scalarsOf(line)).filter(([, value]) => Number.isFinite(value)); // null where one overflowed
  const summary = values.map(([tag, value]) => message(1, stringField(1, tag), float(2, value)));
  return record(sequence([integer(2, line.step), message(5, ...summary)]));
}

/** Returns the numbers of a line under grouped tags. */
function scalarsOf(line: LogLine): Readonly<Record<string, number>> {
  if (!("type" in line)) {
    const others = Object.entries(line).filter(([name]) => name !== "step");
    return Object.fromEntries(others.map(([name, value]) => [`train/${name}`, value as number]));
  }
  const { knn, linear } = line;
  return {
    ...(line.type === "epoch" && { "epoch/loss": line.loss }),
    ...(knn && { "knn/top1": knn.top1, "knn/top5": knn.top5 }),
    ...(linear && { "linear/top1": linear.top1, "linear/top5": linear.top5 }),
  };
}

const fileVersion = stringField(3, "brain.Event:2");

/** Tells readers that steps from this one on are repeated. */
function restart(step: number): Encoded {
  const start = integer(1, 1);
  return sequence([integer(2, step), message(7, start)]);
}

/** Encodes an event with the current time, its length and the checksums of both. */
function record(event: Encoded): Encoded {
  const content = concatenate(sequence([double(1, Date.now() / 1000), event]));
  const length = viewBytes(BigUint64Array.of(BigInt(content.length)));
  const parts = [length, checksum(length), content, checksum(content)];
  return { bytes: parts.reduce((sum, part) => sum + part.length, 0), parts };
}

/** Computes the masked CRC-32C of TFRecord files, little-endian. */
function checksum(bytes: Uint8Array): Uint8Array {
  const crc = crc32c(bytes);
  return viewBytes(Uint32Array.of(((crc >>> 15) | (crc << 17)) + 0xa282ead8));
}

/** Castagnoli's polynomial, bit-reversed. */
const POLYNOMIAL = 0x82f63b78;

const crcOfByte = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
  return crc;
});

function crc32c(bytes: Uint8Array): number {
  let crc = ~0;
  for (const byte of bytes) crc = (crc >>> 8) ^ crcOfByte[(crc ^ byte) & 255]!;
  return ~crc >>> 0;
}
