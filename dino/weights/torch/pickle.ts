/**
 * Python pickles, read without running anything: of the opcodes (https://github.com/python/cpython/blob/main/Lib/pickletools.py)
 * those that PyTorch's own `weights_only` loader takes, which are all that torch.save writes, and those with which later protocols
 * write the same; of Python's names those that the caller lists, each of them a plain function here.
 */

import { shown } from "../../files/text.js";

/** What stands for calling a name of Python. */
export type Call = (args: readonly unknown[]) => unknown;

export interface PickleRules {
  /** The names that a pickle may mention, as "module.name". */
  readonly names: ReadonlyMap<string, Call>;
  /** The object that a persistent id stands for; there are none where it is left out. */
  readonly persistent?: (id: unknown) => unknown;
}

/** A class or function that a pickle mentions. */
export interface Name {
  readonly name: string;
  readonly call: Call;
}

/** An object that Python would have made of a class: its state and no more. */
export interface Instance {
  readonly instanceOf: string;
  state: unknown;
}

/** What was read, and the byte after it. */
export interface Unpickled {
  readonly value: unknown;
  readonly end: number;
}

/** What callers should read at most; that of a ViT-B with its optimizer has 73 KB. */
export const MAX_PICKLE_BYTES = 16 * 2 ** 20;
/** A ViT-B with its optimizer takes 24,000; a dictionary, the largest thing that one of them makes, takes some 200 bytes. */
const MAX_OPCODES = 300_000;
/** Python's integers have no end; torch.save writes one of 10 bytes, its magic number. */
const MAX_INTEGER_BYTES = 16;
/** What torch.save writes, and what Python writes by itself. */
const PROTOCOLS = [2, 3, 4, 5];

/**
 * Reads the pickle that begins at byte `start`. Lists and tuples become arrays, dictionaries maps, integers beyond 2^53
 * bigints, what names are called for whatever their function returns. Takes time and memory in proportion to the bytes read.
 * Throws for other opcodes and names, and where the bytes end early.
 */
export function readPickle(bytes: Uint8Array, { names, persistent }: PickleRules, start = 0): Unpickled {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const stack: unknown[] = [];
  const marks: number[] = [];
  const memo = new Map<number, unknown>();
  let at = start;

  const fail = (message: string): never => {
    throw new Error(`pickle: ${message}, at byte ${at}`);
  };
  const take = (count: number): number => {
    if (at + count > bytes.length) fail(`expected ${count} more bytes, ${bytes.length - at} are left`);
    at += count;
    return at - count;
  };
  const byte = () => view.getUint8(take(1));
  const uint32 = () => view.getUint32(take(4), true);
  const text = (length: number): string => {
    const from = take(length);
    return utf8.decode(bytes.subarray(from, at));
  };
  const line = (): string => {
    const end = bytes.indexOf(NEWLINE, at);
    if (end < 0) fail("expected the end of a line");
    const words = text(end - at);
    at++;
    return words;
  };
  const integer = (length: number): number | bigint => {
    if (length > MAX_INTEGER_BYTES) fail(`expected an integer of at most ${MAX_INTEGER_BYTES} bytes, got ${length}`);
    const from = take(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[from + i]!);
    const signed = BigInt.asIntN(8 * length, value);
    return Number.isSafeInteger(Number(signed)) ? Number(signed) : signed;
  };
  const pop = (): unknown => (stack.length > 0 ? stack.pop() : fail("expected a value on the stack, which is empty"));
  const top = (): unknown => (stack.length > 0 ? stack.at(-1) : fail("expected a value on the stack, which is empty"));
  const popToMark = (): unknown[] => stack.splice(marks.pop() ?? fail("expected a mark, but there is none"));
  const remembered = (index: number): unknown =>
    memo.has(index) ? memo.get(index) : fail(`nothing was kept under ${index}`);
  const call = (): void => {
    const args = pop();
    const callee = pop();
    if (!isName(callee) || !Array.isArray(args)) return fail("expected a function and its arguments");
    stack.push(callee.call(args));
  };
  const append = (items: readonly unknown[]): void => {
    const list = top();
    if (!Array.isArray(list)) return fail("expected a list to append to");
    for (const item of items) list.push(item);
  };
  const setItems = (items: readonly unknown[]): void => {
    const dictionary = top();
    if (!(dictionary instanceof Map) || items.length % 2 !== 0) return fail("expected a dictionary, keys and values");
    for (let i = 0; i < items.length; i += 2) dictionary.set(items[i], items[i + 1]);
  };
  const build = (): void => {
    const state = pop();
    const target = top();
    if (isInstance(target)) target.state = state;
    else if (!(target instanceof Map)) fail("expected an object to give a state"); // an OrderedDict has attributes too
  };

  for (let count = 0; count < MAX_OPCODES; count++) {
    const opcode = byte();
    switch (opcode) {
      case OPCODE.PROTO: {
        const protocol = byte();
        if (!PROTOCOLS.includes(protocol)) fail(`expected a protocol from 2 to 5, got ${protocol}`);
        break;
      }
      case OPCODE.STOP:
        return { value: pop(), end: at };
      case OPCODE.MARK:
        marks.push(stack.length);
        break;
      case OPCODE.BINPUT:
        memo.set(byte(), top());
        break;
      case OPCODE.LONG_BINPUT:
        memo.set(uint32(), top());
        break;
      case OPCODE.MEMOIZE:
        memo.set(memo.size, top());
        break;
      case OPCODE.FRAME:
        take(8); // its length, which only helps those who read a stream
        break;
      case OPCODE.BINGET:
        stack.push(remembered(byte()));
        break;
      case OPCODE.LONG_BINGET:
        stack.push(remembered(uint32()));
        break;
      case OPCODE.NONE:
        stack.push(null);
        break;
      case OPCODE.NEWTRUE:
        stack.push(true);
        break;
      case OPCODE.NEWFALSE:
        stack.push(false);
        break;
      case OPCODE.BININT:
        stack.push(view.getInt32(take(4), true));
        break;
      case OPCODE.BININT1:
        stack.push(byte());
        break;
      case OPCODE.BININT2:
        stack.push(view.getUint16(take(2), true));
        break;
      case OPCODE.LONG1:
        stack.push(integer(byte()));
        break;
      case OPCODE.BINFLOAT:
        stack.push(view.getFloat64(take(8), false));
        break;
      case OPCODE.BINUNICODE:
        stack.push(text(uint32()));
        break;
      case OPCODE.SHORT_BINUNICODE:
      case OPCODE.SHORT_BINSTRING:
        stack.push(text(byte()));
        break;
      case OPCODE.EMPTY_TUPLE:
      case OPCODE.EMPTY_LIST:
        stack.push([]);
        break;
      case OPCODE.TUPLE:
        stack.push(popToMark());
        break;
      case OPCODE.TUPLE1:
        stack.push([pop()]);
        break;
      case OPCODE.TUPLE2:
        stack.push([pop(), pop()].reverse());
        break;
      case OPCODE.TUPLE3:
        stack.push([pop(), pop(), pop()].reverse());
        break;
      case OPCODE.APPEND:
        append([pop()]);
        break;
      case OPCODE.APPENDS:
        append(popToMark());
        break;
      case OPCODE.EMPTY_DICT:
        stack.push(new Map());
        break;
      case OPCODE.SETITEM:
        setItems([pop(), pop()].reverse());
        break;
      case OPCODE.SETITEMS:
        setItems(popToMark());
        break;
      case OPCODE.GLOBAL: {
        const name = `${line()}.${line()}`;
        const known =
          names.get(name) ?? fail(`it calls for "${shown(name)}", which nothing here needs; nothing was run`);
        stack.push({ name, call: known } satisfies Name);
        break;
      }
      case OPCODE.REDUCE:
      case OPCODE.NEWOBJ:
        call();
        break;
      case OPCODE.BUILD:
        build();
        break;
      case OPCODE.BINPERSID: {
        const id = pop();
        stack.push(persistent ? persistent(id) : fail("expected no persistent id"));
        break;
      }
      default:
        fail(`opcode 0x${opcode.toString(16).padStart(2, "0")} is none that is needed`);
    }
  }
  return fail(`it takes more than ${MAX_OPCODES} steps to read, far more than weights do`);
}

export function isName(value: unknown): value is Name {
  return typeof value === "object" && value !== null && "call" in value;
}

export function isInstance(value: unknown): value is Instance {
  return typeof value === "object" && value !== null && "instanceOf" in value;
}

/** Objects of a class, of which only the state is kept. */
export function instancesOf(name: string): Call {
  return () => ({ instanceOf: name, state: undefined }) satisfies Instance;
}

const utf8 = new TextDecoder("utf-8", { fatal: true });
const NEWLINE = 0x0a;

const OPCODE = {
  MARK: 0x28, // (
  EMPTY_TUPLE: 0x29, // )
  STOP: 0x2e, // .
  BINFLOAT: 0x47, // G
  BININT: 0x4a, // J
  BININT1: 0x4b, // K
  BININT2: 0x4d, // M
  NONE: 0x4e, // N
  BINPERSID: 0x51, // Q
  REDUCE: 0x52, // R
  SHORT_BINSTRING: 0x55, // U
  BINUNICODE: 0x58, // X
  EMPTY_LIST: 0x5d, // ]
  APPEND: 0x61, // a
  BUILD: 0x62, // b
  GLOBAL: 0x63, // c
  APPENDS: 0x65, // e
  BINGET: 0x68, // h
  LONG_BINGET: 0x6a, // j
  BINPUT: 0x71, // q
  LONG_BINPUT: 0x72, // r
  SETITEM: 0x73, // s
  TUPLE: 0x74, // t
  SETITEMS: 0x75, // u
  EMPTY_DICT: 0x7d, // }
  PROTO: 0x80,
  NEWOBJ: 0x81,
  TUPLE1: 0x85,
  TUPLE2: 0x86,
  TUPLE3: 0x87,
  NEWTRUE: 0x88,
  NEWFALSE: 0x89,
  LONG1: 0x8a,
  SHORT_BINUNICODE: 0x8c,
  MEMOIZE: 0x94,
  FRAME: 0x95,
} as const;
