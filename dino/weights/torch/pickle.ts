/**
 * Reads Python pickles without running any code. It supports the opcodes
 * (https://github.com/python/cpython/blob/main/Lib/pickletools.py) of PyTorch's `weights_only` loader, which cover everything
 * that torch.save writes, and their equivalents in later protocols. A pickle may only refer to the Python names that the caller
 * lists; each maps to a function here.
 */

import { printable } from "../../files/text.js";
import {
  advance,
  type Cursor,
  fail,
  openCursor,
  readByte,
  readFloat64,
  readInt32,
  readInteger,
  readLine,
  readText,
  readUint16,
  readUint32,
} from "./pickle-cursor.js";

/** Replaces a call of a Python name. */
export type Call = (args: readonly unknown[]) => unknown;

export interface PickleRules {
  /** The allowed names, as "module.name", and what calling each returns. */
  readonly names: ReadonlyMap<string, Call>;
  /** Resolves a persistent id to its object; without it, a persistent id is an error. */
  readonly persistent?: (id: unknown) => unknown;
}

/** A class or function that a pickle refers to. */
export interface Name {
  readonly name: string;
  readonly call: Call;
}

/** An instance of a Python class, reduced to its state. */
export interface Instance {
  readonly instanceOf: string;
  state: unknown;
}

/** The unpickled value and the offset of the byte after its pickle. */
export interface Unpickled {
  readonly value: unknown;
  readonly end: number;
}

/** The largest pickle that callers should read; a ViT-B with its optimizer has 73 KB. */
export const MAX_PICKLE_BYTES = 16 * 2 ** 20;
/** A ViT-B with its optimizer takes 24,000; the largest object that one opcode creates, a dictionary, takes about 200 bytes. */
const MAX_OPCODES = 300_000;
/** torch.save writes protocol 2; 3 to 5 are the defaults of the versions of Python 3. */
const PROTOCOLS = [2, 3, 4, 5];

/** The state of the pickle machine between two opcodes. */
interface Machine {
  readonly cursor: Cursor;
  readonly rules: PickleRules;
  readonly stack: unknown[];
  /** The height of the stack at each mark. */
  readonly marks: number[];
  readonly memo: Map<number, unknown>;
}

/**
 * Reads the pickle at offset `start`. Lists and tuples become arrays, dictionaries maps, integers beyond 2^53 bigints, and calls
 * whatever the function of their name returns. Takes time and memory proportional to the bytes read. Throws on any other opcode
 * or name, and if the bytes end early.
 */
export function readPickle(bytes: Uint8Array, rules: PickleRules, start = 0): Unpickled {
  const cursor = openCursor(bytes, start);
  const machine: Machine = { cursor, rules, stack: [], marks: [], memo: new Map() };
  for (let count = 0; count < MAX_OPCODES; count++) {
    const opcode = readByte(cursor);
    if (opcode === OPCODE.STOP) return { value: pop(machine), end: cursor.at };
    const execute = INSTRUCTIONS.get(opcode);
    if (!execute) fail(cursor, `opcode 0x${opcode.toString(16).padStart(2, "0")} is not supported`);
    execute(machine);
  }
  return fail(cursor, `it takes more than ${MAX_OPCODES} steps to read, far more than weights do`);
}

export function isName(value: unknown): value is Name {
  return typeof value === "object" && value !== null && "call" in value;
}

export function isInstance(value: unknown): value is Instance {
  return typeof value === "object" && value !== null && "instanceOf" in value;
}

/** Stands for a class: calling it creates an `Instance` without state. */
export function instancesOf(name: string): Call {
  return () => ({ instanceOf: name, state: undefined }) satisfies Instance;
}

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

/** Executes one opcode, whose byte has been read. */
type Instruction = (machine: Machine) => void;
type InstructionGroup = readonly (readonly [opcode: number, execute: Instruction])[];

/** The instruction that pushes what `produce` returns. */
function push(produce: (machine: Machine) => unknown): Instruction {
  return (machine) => void machine.stack.push(produce(machine));
}

/** Opcodes about the pickle itself. */
const FRAMING: InstructionGroup = [
  [OPCODE.PROTO, checkProtocol],
  [OPCODE.FRAME, ({ cursor }) => void advance(cursor, 8)], // the frame's length, of use to readers of a stream
];

const MEMO: InstructionGroup = [
  [OPCODE.BINPUT, (machine) => void machine.memo.set(readByte(machine.cursor), top(machine))],
  [OPCODE.LONG_BINPUT, (machine) => void machine.memo.set(readUint32(machine.cursor), top(machine))],
  [OPCODE.MEMOIZE, (machine) => void machine.memo.set(machine.memo.size, top(machine))],
  [OPCODE.BINGET, push((machine) => recall(machine, readByte(machine.cursor)))],
  [OPCODE.LONG_BINGET, push((machine) => recall(machine, readUint32(machine.cursor)))],
];

/** Opcodes that push None, a truth value, a number or a string. */
const SCALARS: InstructionGroup = [
  [OPCODE.NONE, push(() => null)],
  [OPCODE.NEWTRUE, push(() => true)],
  [OPCODE.NEWFALSE, push(() => false)],
  [OPCODE.BININT, push(({ cursor }) => readInt32(cursor))],
  [OPCODE.BININT1, push(({ cursor }) => readByte(cursor))],
  [OPCODE.BININT2, push(({ cursor }) => readUint16(cursor))],
  [OPCODE.LONG1, push(({ cursor }) => readInteger(cursor, readByte(cursor)))],
  [OPCODE.BINFLOAT, push(({ cursor }) => readFloat64(cursor))],
  [OPCODE.BINUNICODE, push(({ cursor }) => readText(cursor, readUint32(cursor)))],
  [OPCODE.SHORT_BINUNICODE, push(({ cursor }) => readText(cursor, readByte(cursor)))],
  [OPCODE.SHORT_BINSTRING, push(({ cursor }) => readText(cursor, readByte(cursor)))],
];

/** Opcodes that create and fill tuples, lists and dictionaries. */
const COLLECTIONS: InstructionGroup = [
  [OPCODE.MARK, ({ stack, marks }) => void marks.push(stack.length)],
  [OPCODE.EMPTY_TUPLE, push(() => [])],
  [OPCODE.TUPLE, push(popToMark)],
  [OPCODE.TUPLE1, push((machine) => popMany(machine, 1))],
  [OPCODE.TUPLE2, push((machine) => popMany(machine, 2))],
  [OPCODE.TUPLE3, push((machine) => popMany(machine, 3))],
  [OPCODE.EMPTY_LIST, push(() => [])],
  [OPCODE.APPEND, (machine) => appendItems(machine, popMany(machine, 1))],
  [OPCODE.APPENDS, (machine) => appendItems(machine, popToMark(machine))],
  [OPCODE.EMPTY_DICT, push(() => new Map())],
  [OPCODE.SETITEM, (machine) => setItems(machine, popMany(machine, 2))],
  [OPCODE.SETITEMS, (machine) => setItems(machine, popToMark(machine))],
];

/** Opcodes that look up names and create what is neither a scalar nor a collection. */
const OBJECTS: InstructionGroup = [
  [OPCODE.GLOBAL, push(lookUpName)],
  [OPCODE.REDUCE, push(callName)],
  [OPCODE.NEWOBJ, push(callName)],
  [OPCODE.BUILD, setState],
  [OPCODE.BINPERSID, push(resolvePersistentId)],
];

/** Every supported opcode but STOP. */
const INSTRUCTIONS: ReadonlyMap<number, Instruction> = new Map([FRAMING, MEMO, SCALARS, COLLECTIONS, OBJECTS].flat());

function checkProtocol({ cursor }: Machine): void {
  const protocol = readByte(cursor);
  if (!PROTOCOLS.includes(protocol)) fail(cursor, `expected a protocol from 2 to 5, got ${protocol}`);
}

function pop({ stack, cursor }: Machine): unknown {
  return stack.length > 0 ? stack.pop() : fail(cursor, "expected a value on the stack, which is empty");
}

/** Pops `count` values and returns them in the order in which they were pushed. */
function popMany(machine: Machine, count: 1 | 2 | 3): unknown[] {
  return Array.from({ length: count }, () => pop(machine)).reverse();
}

/** Pops the latest mark and all values above it. */
function popToMark({ stack, marks, cursor }: Machine): unknown[] {
  return stack.splice(marks.pop() ?? fail(cursor, "expected a mark, but there is none"));
}

function top({ stack, cursor }: Machine): unknown {
  return stack.length > 0 ? stack.at(-1) : fail(cursor, "expected a value on the stack, which is empty");
}

function recall({ memo, cursor }: Machine, index: number): unknown {
  return memo.has(index) ? memo.get(index) : fail(cursor, `the memo has no entry ${index}`);
}

/** Appends to the list on top of the stack. */
function appendItems(machine: Machine, items: readonly unknown[]): void {
  const list = top(machine);
  if (!Array.isArray(list)) return fail(machine.cursor, "expected a list to append to");
  for (const item of items) list.push(item);
}

/** Sets items, keys and values in turn, of the dictionary on top of the stack. */
function setItems(machine: Machine, items: readonly unknown[]): void {
  const dictionary = top(machine);
  if (!(dictionary instanceof Map) || items.length % 2 !== 0) {
    return fail(machine.cursor, "expected a dictionary, keys and values");
  }
  for (let i = 0; i < items.length; i += 2) dictionary.set(items[i], items[i + 1]);
}

/** Reads a name. Throws if the rules do not allow it. */
function lookUpName({ cursor, rules }: Machine): Name {
  const name = `${readLine(cursor)}.${readLine(cursor)}`;
  const call = rules.names.get(name);
  return call
    ? { name, call }
    : fail(cursor, `it refers to "${printable(name)}", which is not allowed; nothing was run`);
}

/** Pops arguments and a name, and calls the function that the rules give for the name. */
function callName(machine: Machine): unknown {
  const args = pop(machine);
  const callee = pop(machine);
  if (!isName(callee) || !Array.isArray(args)) return fail(machine.cursor, "expected a function and its arguments");
  return callee.call(args);
}

/** Pops a state and gives it to the object below it. */
function setState(machine: Machine): void {
  const state = pop(machine);
  const target = top(machine);
  if (isInstance(target)) target.state = state;
  else if (!(target instanceof Map)) fail(machine.cursor, "expected an object to give a state");
  // else: the attributes of an OrderedDict, which are ignored
}

function resolvePersistentId(machine: Machine): unknown {
  const id = pop(machine);
  const { persistent } = machine.rules;
  return persistent ? persistent(id) : fail(machine.cursor, "expected no persistent id");
}
