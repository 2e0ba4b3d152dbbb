/**
 * The inner loop of reading a log, in AssemblyScript, which becomes WebAssembly: it cuts lines, compares how they begin
 * with what is known, and runs the automata of the rules over their messages. A line that it can't read it leaves to
 * its caller. Whatever a line holds, it only chooses among kinds, rows and places that the tables have.
 */
import {
  ADDRESS_AT,
  ARRIVAL_ADDRESS,
  ARRIVAL_BEHIND,
  ARRIVAL_HOST,
  ARRIVAL_PLACE,
  ARRIVAL_ROW,
  ARRIVAL_RULE,
  ARRIVAL_SIZE,
  ARRIVALS,
  BEGIN,
  BEHIND_AT,
  BLOCK_BITS,
  BLOCK_SIZE,
  BLOCKS,
  CONTENT,
  DATE,
  DATE_LENGTH,
  END_KIND,
  FIRST_ARRIVAL,
  FIRST_RULE,
  FROM,
  GAVE_UP,
  HAS_MORE,
  HOST,
  HOST_AT,
  HOST_LENGTH,
  IN_QUEUE_ID,
  IS_RFC3339,
  KEEPS,
  KEPT_AT,
  KEPT_END,
  KINDS,
  LINES,
  MESSAGE,
  MILLISECONDS,
  MOST_KEPT,
  MOST_RECORDS,
  MUST_HOLD,
  NEXT,
  NOTHING,
  PID,
  PLACES,
  PLAIN,
  PROCESS_END,
  QUEUED,
  RECORD_SIZE,
  RECORDS,
  ROWS,
  RULE,
  STAMP_LENGTH,
  START_ARRIVAL,
  START_PLACE,
  START_ROW,
  STUCK_AT,
  TAG,
  TAG_BYTES,
  TAG_LENGTH,
  TAG_PROGRAM,
  TAG_SIZE,
  TAG_SLOTS,
  TAGS,
  TELLING,
  TO,
  UNKNOWN,
  ZONE,
  ZONE_LENGTH,
} from './layout';

/** Works out where a kind of byte leads from a row, and writes it into the row; `TOO_MANY` when it can't. */
declare function explore(automaton: usize, row: i32, kind: i32): i32;

/** In each byte of eight. */
const ONES: u64 = u64.MAX_VALUE / 255;
const NEWLINE: u8 = 10;
const CARRIAGE_RETURN: u8 = 13;
const SPACE: u8 = 32;
const COLON_SPACE: u16 = 0x203a;
const COLON: u8 = 58;
const DOT: u8 = 46;
/** `mess`, of `message repeated 2 times: [ ... ]`. */
const REPEATED: u32 = 0x7373656d;
const SHORTEST_RFC3339: usize = 19;
const SHORTEST_QUEUE_ID: usize = 5;
const LONGEST_QUEUE_ID: usize = 26;
/** More of them may not be a number that fits. */
const MOST_DIGITS: usize = 9;
const TOO_MANY: i32 = i32.MIN_VALUE;

/**
 * Lines repeat each other. Eight bytes at a time are looked up together, which takes about as long as one of them does
 * alone: the rows of all states are more than the fastest part of the processor's memory holds.
 */
const BLOCK: usize = 8;
/** The bits of a row in what a block brings about; above them, the place that was passed in it and where. */
const ROW_BITS: i32 = 0xffffff;
const OFFSET_BITS: i32 = 24;
const PLACE_BITS: i32 = 27;
const PASSED: i32 = 1 << 30;

/** Reads lines until one that it can't read, or until the records are full; the number of records. */
export function scan(from: usize, to: usize): i32 {
  let record: usize = RECORDS;
  let count: i32 = 0;
  let lines: i32 = 0;
  let stuckAt: i32 = NOTHING;
  let at = from;
  while (at < to && count < MOST_RECORDS) {
    const lineEnd = positionOf(NEWLINE, at, to);
    const end = lineEnd > at && load<u8>(lineEnd - 1) === CARRIAGE_RETURN ? lineEnd - 1 : lineEnd;
    const tag = tagOf(at, end);
    if (tag === 0) {
      stuckAt = BEGIN;
      break;
    }
    const program: usize = load<u32>(tag, TAG_PROGRAM);
    if (program !== 0) {
      const found = load<u32>(messageStart) === REPEATED ? GAVE_UP : findIn(program, end);
      if (found === GAVE_UP || (found === 0 && load<u32>(program, HAS_MORE) !== 0)) {
        stuckAt = CONTENT;
        break;
      }
      if (found !== 0) {
        store<u32>(record, u32(at), FROM);
        store<u32>(record, u32(end), TO);
        store<u32>(record, u32((tag - TAGS) / TAG_SIZE), TAG);
        store<i32>(record, pid, PID);
        store<u32>(record, u32(processEnd), PROCESS_END);
        store<u32>(record, u32(messageStart), MESSAGE);
        store<i32>(record, load<i32>(foundBy, FIRST_RULE) + load<i32>(found, ARRIVAL_RULE), RULE);
        store<u32>(record, placeAt(found, ARRIVAL_HOST), HOST_AT);
        store<u32>(record, placeAt(found, ARRIVAL_ADDRESS), ADDRESS_AT);
        store<u32>(record, placeAt(found, ARRIVAL_BEHIND), BEHIND_AT);
        store<u32>(record, keep(at, end), KEPT_AT);
        const stampEnd = at + load<u32>(STAMP_LENGTH);
        store<i32>(record, millisecondsOf(at, stampEnd, load<i32>(ZONE_LENGTH)), MILLISECONDS);
        record += RECORD_SIZE;
        count++;
      }
    }
    at = lineEnd + 1;
    lines++;
  }
  store<u32>(NEXT, u32(at));
  store<i32>(LINES, lines);
  store<i32>(STUCK_AT, stuckAt);
  return count;
}

/** What is behind the date in a stamp of the known date and zone, `23:59:60.999`, in milliseconds; -1 for any other. */
export function millisecondsOf(from: usize, end: usize, zoneLength: i32): i32 {
  const zone = end - zoneLength;
  if (zoneLength === 0 || zone < from + SHORTEST_RFC3339) return -1;
  if (!areSame(DATE, from, DATE_LENGTH) || !areSame(ZONE, zone, zoneLength)) return -1;
  const at = from + DATE_LENGTH;
  const hour = twoDigits(at);
  const minute = twoDigits(at + 3);
  const second = twoDigits(at + 6);
  if (load<u8>(at, 2) !== COLON || load<u8>(at, 5) !== COLON || hour > 23 || minute > 59 || second > 60) return -1;
  let fraction = 0;
  let behind = at + 8;
  if (behind < zone) {
    if (load<u8>(behind) !== DOT || ++behind === zone) return -1;
    let scale = 100;
    for (; behind < zone; behind++) {
      if (!isDigit(load<u8>(behind))) return -1;
      fraction += (load<u8>(behind) - 48) * scale;
      scale /= 10;
    }
  }
  return ((hour * 60 + minute) * 60 + second) * 1_000 + fraction;
}

/** The number that they make, or one above 99. */
function twoDigits(at: usize): i32 {
  return isDigit(load<u8>(at)) && isDigit(load<u8>(at, 1)) ? (load<u8>(at) - 48) * 10 + load<u8>(at, 1) - 48 : 100;
}

/** Where a copy of the line lies: those of a chunk in which something is found stay, side by side, when it is gone. */
function keep(from: usize, lineEnd: usize): u32 {
  const kept = load<u32>(KEPT_END);
  if (load<i32>(KEEPS) === 0) return kept;
  const end = min(lineEnd, from + MOST_KEPT);
  let to: usize = kept;
  // What it writes behind the line the next one overwrites.
  if (ASC_FEATURE_SIMD) for (let at = from; at < end; at += 16, to += 16) v128.store(to, v128.load(at));
  else for (let at = from; at < end; at += 8, to += 8) store<u64>(to, load<u64>(at));
  store<u32>(KEPT_END, kept + u32(end - from));
  return kept;
}

/** The arrival at what the bytes begin with, 0 when that is nothing, or `GAVE_UP`. */
export function find(automaton: usize, start: usize, end: usize): usize {
  if (start < end) {
    const wanted = load<u8>(automaton + load<u8>(start), MUST_HOLD);
    if (wanted !== 0 && positionOf(wanted, start, end) === end) return 0;
  }
  const place = load<i32>(automaton, START_PLACE);
  if (place >= 0) remember(place, start);
  let row = load<i32>(automaton, START_ROW);
  if (row < 0) return arrivalOf(automaton, load<i32>(automaton, START_ARRIVAL));
  // Most messages are no rule's from their first byte on.
  if (start < end && load<i32>(cellOf(automaton, row, kindAt(automaton, start))) === FIRST_ARRIVAL) return 0;
  const blocks: usize = load<u32>(automaton, BLOCKS);
  let at = start;
  for (; at + BLOCK <= end; at += BLOCK) {
    const bytes = load<u64>(at);
    const slot = blocks + slotOf(row, bytes);
    let brings = load<i32>(slot, 4);
    if (load<i32>(slot) === row && load<u64>(slot, 8) === bytes) {
      if (brings > ROW_BITS) remember((brings >>> PLACE_BITS) & 7, at + usize((brings >>> OFFSET_BITS) & 7) + 1);
    } else {
      brings = walk(automaton, at, at + BLOCK, row);
      if (isKept) {
        store<i32>(slot, row);
        store<i32>(slot, brings, 4);
        store<u64>(slot, bytes, 8);
      }
    }
    if (brings < 0) return arrivalOf(automaton, brings);
    row = brings & ROW_BITS;
  }
  let brings = walk(automaton, at, end, row);
  if (brings >= 0) {
    const kind = load<i32>(automaton, END_KIND);
    brings = known(automaton, brings & ROW_BITS, kind);
  }
  return arrivalOf(automaton, brings);
}

// Of the line that was read last.
let processEnd: usize = 0;
let messageStart: usize = 0;
let pid: i32 = 0;
/** The automaton that found something in it. */
let foundBy: usize = 0;

/** What the program's automata find in the message, or behind its queue id. */
function findIn(program: usize, end: usize): usize {
  foundBy = load<u32>(program, PLAIN);
  if (foundBy !== 0) {
    const found = find(foundBy, messageStart, end);
    if (found !== 0) return found;
  }
  foundBy = load<u32>(program, QUEUED);
  if (foundBy === 0) return 0;
  const behind = queueIdEnd(messageStart, end);
  if (behind === 0) return 0;
  messageStart = behind;
  return find(foundBy, behind, end);
}

/** The slot of the tag of a line that begins like one known, or 0. */
function tagOf(from: usize, end: usize): usize {
  const hostLength = load<i32>(HOST_LENGTH);
  if (hostLength === 0) return 0;
  const stampEnd = from + load<u32>(STAMP_LENGTH);
  const start = stampEnd + hostLength;
  if (start + TELLING + 5 > end || !isStamp(from, stampEnd) || !areSame(HOST, stampEnd, hostLength)) return 0;
  const word = load<i32>(start, TELLING) + load<i32>(start, TELLING + 1);
  const tag: usize = TAGS + (((word * 0x9e3779b1) >>> 24) & (TAG_SLOTS - 1)) * TAG_SIZE;
  const length = load<i32>(tag, TAG_LENGTH);
  const tagEnd = start + length;
  if (length === 0 || tagEnd >= end || !areSame(tag + TAG_BYTES, start, length)) return 0;
  return readProcess(tagEnd, end) ? tag : 0;
}

/** Would a stamp that begins at `from` be taken to end there? */
function isStamp(from: usize, end: usize): bool {
  const first = load<u8>(from);
  if (isDigit(first)) {
    if (load<i32>(IS_RFC3339) === 0) return false;
    return positionOf(SPACE, from + SHORTEST_RFC3339, end) === end;
  }
  // NUL bytes and a priority stand before a stamp.
  if (load<i32>(IS_RFC3339) !== 0 || first === 0 || first === 60) return false;
  return (load<u8>(from, 14) === SPACE ? 14 : 15) === load<i32>(STAMP_LENGTH);
}

/** What follows the tag: `[PID]`, if there is one, and a colon. */
function readProcess(from: usize, end: usize): bool {
  let at = from;
  pid = -1;
  if (load<u8>(at) === 91) {
    pid = 0;
    for (at++; at < end && isDigit(load<u8>(at)); at++) pid = pid * 10 + load<u8>(at) - 48;
    const digits = at - from - 1;
    if (digits === 0 || digits > MOST_DIGITS || load<u8>(at) !== 93) return false;
    at++;
  }
  processEnd = at;
  messageStart = at + 2;
  return messageStart < end && load<u16>(at) === COLON_SPACE;
}

/** Behind `QUEUEID: `, or 0. */
function queueIdEnd(start: usize, end: usize): usize {
  const limit = min(end - 2, start + LONGEST_QUEUE_ID);
  let at = start;
  while (at < limit && load<u8>(IN_QUEUE_ID + load<u8>(at)) !== 0) at++;
  return at - start >= SHORTEST_QUEUE_ID && load<u16>(at) === COLON_SPACE ? at + 2 : 0;
}

/** May what the last walk brought about be kept? */
let isKept: bool = false;

/**
 * Goes on from state to state. What that brings about: the number of the arrival that decides, or a row and, above its
 * bits, a place that was passed.
 */
function walk(automaton: usize, from: usize, to: usize, first: i32): i32 {
  let row = first;
  let passed: i32 = 0;
  isKept = true;
  for (let at = from; at < to; at++) {
    let following = known(automaton, row, kindAt(automaton, at));
    if (following < 0) {
      if (following === TOO_MANY) {
        isKept = false;
        return following;
      }
      const arrival = arrivalAt(automaton, following);
      const place = load<i32>(arrival, ARRIVAL_PLACE);
      if (place >= 0) {
        remember(place, at + 1);
        // One fits.
        if (passed !== 0) isKept = false;
        passed = PASSED | (place << PLACE_BITS) | (i32(at - from) << OFFSET_BITS);
      }
      const leads = load<i32>(arrival, ARRIVAL_ROW);
      if (leads < 0) {
        if (passed !== 0) isKept = false;
        return following;
      }
      following = leads;
    }
    row = following;
  }
  return row | passed;
}

/** Where a kind of byte leads. */
function known(automaton: usize, row: i32, kind: i32): i32 {
  const following = load<i32>(cellOf(automaton, row, kind));
  return following === UNKNOWN ? explore(automaton, row, kind) : following;
}

function kindAt(automaton: usize, at: usize): i32 {
  return load<u8>(automaton + load<u8>(at), KINDS);
}

function cellOf(automaton: usize, row: i32, kind: i32): usize {
  return load<u32>(automaton, ROWS) + (usize(row + kind) << 2);
}

function arrivalAt(automaton: usize, number: i32): usize {
  return load<u32>(automaton, ARRIVALS) + usize(FIRST_ARRIVAL - number) * ARRIVAL_SIZE;
}

function arrivalOf(automaton: usize, number: i32): usize {
  if (number === TOO_MANY) return GAVE_UP;
  return number === FIRST_ARRIVAL ? 0 : arrivalAt(automaton, number);
}

function remember(place: i32, at: usize): void {
  store<u32>(PLACES + (usize(place) << 2), u32(at));
}

function placeAt(found: usize, which: usize): u32 {
  return load<u32>(PLACES + (usize(load<u32>(found + which)) << 2));
}

function slotOf(row: i32, bytes: u64): usize {
  const low = u32(bytes) ^ u32(row);
  const high = u32(bytes >>> 32);
  let mixed: u32 = (low * u32(0x9e3779b1)) ^ (high * u32(0x85ebca6b));
  mixed = (mixed ^ (mixed >>> 15)) * u32(0xc2b2ae35);
  return usize(mixed >>> (32 - BLOCK_BITS)) * BLOCK_SIZE;
}

/** The first place of the byte, or `to`: sixteen or eight bytes at a time, which also looks at some behind `to`. */
function positionOf(byte: u8, from: usize, to: usize): usize {
  if (ASC_FEATURE_SIMD) {
    const wanted = i8x16.splat(byte);
    for (let at = from; at < to; at += 16) {
      const places = i8x16.bitmask(i8x16.eq(v128.load(at), wanted));
      if (places !== 0) return min(at + usize(ctz(places)), to);
    }
    return to;
  }
  const wanted = ONES * byte;
  for (let at = from; at < to; at += 8) {
    const differs = load<u64>(at) ^ wanted;
    // Each byte that is zero by now borrows from its highest bit; the lowest of them is surely one.
    const zeros = (differs - ONES) & ~differs & (ONES << 7);
    if (zeros !== 0) return min(at + usize(ctz(zeros) >> 3), to);
  }
  return to;
}

function areSame(one: usize, other: usize, length: i32): bool {
  const last = length - 8;
  for (let i = 0; i < last; i += 8) if (load<u64>(one + i) !== load<u64>(other + i)) return false;
  if (last >= 0) return load<u64>(one + last) === load<u64>(other + last);
  // What lies behind is not compared.
  return length === 0 || (load<u64>(one) ^ load<u64>(other)) << u64(-8 * last) === 0;
}

function isDigit(code: u8): bool {
  return code >= 48 && code <= 57;
}
