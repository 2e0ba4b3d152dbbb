/** Where everything lies in the scanner's memory, in bytes: read by TypeScript and by what becomes WebAssembly. */

/** Where the last scan ended, how many lines it read, and why it can't read the next. */
export const NEXT = 992;
export const LINES = 996;
export const STUCK_AT = 1000;
export const NOTHING = 0;
/** It begins like none that is known. */
export const BEGIN = 1;
/** What is in it is for others. */
export const CONTENT = 2;

/** What lines begin with: a stamp of this length; 0 for the host's as long as none is known. */
export const STAMP_LENGTH = 1004;
export const IS_RFC3339 = 1008;
export const HOST_LENGTH = 1012;
/** Where the next line is kept in which something is found, or its begin. */
export const KEPT_END = 1016;
export const MOST_KEPT = 1024;
/** Is any kept? */
export const KEEPS = 1020;
/** The date of stamps in RFC 3339 as far as the hour, and their zone, of this length; 0 while none is known. */
export const DATE = 64;
export const DATE_LENGTH = 11;
export const ZONE = 80;
export const MOST_ZONE = 6;
export const ZONE_LENGTH = 96;
/** What lines begin with behind their stamp: the spaces and the host. */
export const HOST = 1024;
export const HOST_ROOM = 256;

/** Tags by a hash of what tells them apart. A tag: its length, its program or 0, its bytes. */
export const TAGS = 1280;
export const TAG_SLOTS = 64;
export const TAG_SIZE = 272;
export const TAG_LENGTH = 0;
export const TAG_PROGRAM = 4;
export const TAG_BYTES = 16;
export const TAG_ROOM = 256;
/** Where tags differ: behind `postfix/`, in the five bytes there. */
export const TELLING = 8;

/** Places of one line that are remembered at a time. */
export const PLACES = 18688;
export const MOST_PLACES = 8;

/** By byte, whether it may stand in a queue id. */
export const IN_QUEUE_ID = 18752;

/** What was found in lines. */
export const RECORDS = 19008;
export const MOST_RECORDS = 1024;
export const RECORD_SIZE = 48;
export const FROM = 0;
export const TO = 4;
/** Slot of the line's tag. */
export const TAG = 8;
/** -1 without one. */
export const PID = 12;
export const PROCESS_END = 16;
export const MESSAGE = 20;
export const RULE = 24;
export const HOST_AT = 28;
export const ADDRESS_AT = 32;
export const BEHIND_AT = 36;
/** Where the line is kept. */
export const KEPT_AT = 40;
/** Of the line's stamp, milliseconds behind the begin of the date; -1 when it is of another, or none. */
export const MILLISECONDS = 44;

/** What is allocated begins here. */
export const FREE = 68160;

/** A program: the automaton for its messages, the one for those behind a queue id, and whether others read them too. */
export const PROGRAM_SIZE = 12;
export const PLAIN = 0;
export const QUEUED = 4;
export const HAS_MORE = 8;

/**
 * An automaton: by byte, what kind it is; by the first byte of a message, one that it must hold, or 0; then its tables.
 * The end of a message is a kind of its own, the last.
 */
export const AUTOMATON_SIZE = 544;
export const KINDS = 0;
export const MUST_HOLD = 256;
export const ROWS = 512;
export const ARRIVALS = 516;
export const BLOCKS = 520;
export const START_ROW = 524;
export const START_PLACE = 528;
export const START_ARRIVAL = 532;
export const END_KIND = 536;
export const FIRST_RULE = 540;

/** In a row: nobody knows yet; numbers of arrivals, turned round, from here down. */
export const UNKNOWN = -1;
export const FIRST_ARRIVAL = -2;

/** Where a byte leads that changes more than the state: a place to write down or -1, a row or -1 when it is decided. */
export const ARRIVAL_SIZE = 24;
export const ARRIVAL_PLACE = 0;
export const ARRIVAL_ROW = 4;
/** The rule that is found, and the numbers of its places. */
export const ARRIVAL_RULE = 8;
export const ARRIVAL_HOST = 12;
export const ARRIVAL_ADDRESS = 16;
export const ARRIVAL_BEHIND = 20;

/** Blocks of eight bytes by the row before and the bytes: the row, what they bring about, the bytes. */
export const BLOCK_BITS = 12;
export const BLOCK_SIZE = 16;

/** In place of an arrival: it would take more states than are kept. */
export const GAVE_UP = 1;
