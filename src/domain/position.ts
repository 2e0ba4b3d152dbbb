/** How far a log has been counted. */

/** Identity of a file that survives a rename and is not fooled by a reused inode. */
export interface FileIdentity {
  readonly dev: number;
  readonly ino: number;
  /** Number of first bytes that `fingerprint` covers. */
  readonly head: number;
  /** Hash over the first `head` bytes. */
  readonly fingerprint: string;
}

/** Everything before `offset` in the file has been counted. */
export interface CountedFile {
  readonly file: FileIdentity;
  readonly offset: number;
  /** The file's last change when it was read so far, milliseconds: what changed later was not counted. */
  readonly changedAt?: number;
  /** Where it lay when it was opened: of use when the log is a symbolic link that was switched to another folder. */
  readonly path?: string;
}

/** Everything before `offset` in the file, or up to the journal's cursor, has been counted. JSON-safe. */
export type Position =
  | (CountedFile & {
      readonly kind: 'file';
      /** Older files that were left for this one, and to which a writer may still append. */
      readonly late?: readonly CountedFile[];
    })
  | { readonly kind: 'journal'; readonly cursor: string };
