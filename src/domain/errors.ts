/** Errors that a person sees: what was wrong, where, and what to do. Anything else crashes loudly. */

export type ExitCode = 0 | 1 | 2 | 3;

/** An expected failure; `message` is the whole sentence for the person, `exitCode` the program's answer. */
export class BlockdError extends Error {
  readonly exitCode: ExitCode;

  constructor(message: string, exitCode: ExitCode, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.exitCode = exitCode;
  }
}

/** Wrong arguments, config or rule file (exit code 2). */
export class UsageError extends BlockdError {
  constructor(message: string, options?: ErrorOptions) {
    super(message, 2, options);
  }
}

/** The store, Postfix, or a file of ours can't be reached or used now (exit code 3). */
export class UnavailableError extends BlockdError {
  constructor(message: string, options?: ErrorOptions) {
    super(message, 3, options);
  }
}

/** A newer blockd has made the store (exit code 3): neither waiting nor the next start is any use, only an upgrade. */
export class NewerStoreError extends UnavailableError {}

/** What the store holds can't be read (exit code 3): waiting is no use, the next start sets it aside. */
export class DamagedError extends BlockdError {
  constructor(message: string, options?: ErrorOptions) {
    super(message, 3, options);
  }
}

/** Short reason of an unknown thrown value, for the end of a sentence. */
export function reasonOf(error: unknown): string {
  if (error instanceof Error) {
    const code = (error as NodeJS.ErrnoException).code;
    const known = code === undefined ? undefined : SYSTEM_ERRORS[code];
    return known ?? (error.message || error.name);
  }
  return String(error);
}

const SYSTEM_ERRORS: Record<string, string | undefined> = {
  EACCES: 'permission denied',
  EPERM: 'operation not permitted',
  ENOENT: 'no such file or directory',
  ENOTDIR: 'a part of the path is not a directory',
  EISDIR: 'it is a directory',
  ENOSPC: 'no space left on the device',
  EROFS: 'the file system is read-only',
  ELOOP: 'the symbolic link leads back to itself',
  EDQUOT: 'disk quota exceeded',
};
