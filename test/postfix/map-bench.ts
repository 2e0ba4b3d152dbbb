/** An access map of the test's own, the notices it gave and the reloads it asked for, and what Postfix would find in it. */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { AccessMap, type AccessMapOptions, type MapEntry } from '../../src/postfix/access-map.js';

export const UNTIL = Date.parse('2031-05-11T04:00:00Z');

export const entry = (subject: string, until = UNTIL): MapEntry => ({ subject, until, reason: 'repeated rejects' });

export class MapBench {
  readonly type: string;
  readonly root = mkdtempSync(join(tmpdir(), 'blockd-map-'));
  readonly folder: string;
  readonly path: string;
  readonly notices: string[] = [];

  constructor(type: string, folder = 'map') {
    this.type = type;
    this.folder = join(this.root, folder);
    this.path = join(this.folder, 'client_access');
    // Postfix's own tools read it; a folder of other users' files is no business of theirs.
    chmodSync(this.root, 0o755);
  }

  /** As another process would open it: it remembers nothing. */
  map(options: Partial<AccessMapOptions> = {}): AccessMap {
    return new AccessMap({
      type: this.type,
      path: this.path,
      reply: 'Blocked until {until} after repeated rejects',
      action: 'reject',
      postmap: 'postmap',
      reload: [this.script('reload', `echo reloaded >> ${this.root}/reloads`)],
      onNotice: (_level, message) => this.notices.push(message),
      ...options,
    });
  }

  publish(subjects: readonly string[], options: Partial<AccessMapOptions> = {}) {
    return this.map(options).publish(async () => subjects.map((subject) => entry(subject)));
  }

  /** The value that Postfix would find under the key, or null. A table error throws. */
  lookUp(key: string, table = `${this.type}:${this.path}`): string | null {
    const { status, stdout, stderr } = spawnSync('postmap', ['-q', key, table], { encoding: 'utf8' });
    if (stderr !== '') throw new Error(stderr);
    return status === 0 ? stdout.trimEnd() : null;
  }

  lookUpCidr(address: string): string | null {
    return this.lookUp(address, `cidr:${this.type === 'cidr' ? this.path : `${this.path}.cidr`}`);
  }

  get compiled(): string {
    return this.path + ({ hash: '.db', btree: '.db', lmdb: '.lmdb', cdb: '.cdb' }[this.type] ?? '');
  }

  get reloads(): number {
    const file = join(this.root, 'reloads');
    return existsSync(file) ? readFileSync(file, 'utf8').split('\n').length - 1 : 0;
  }

  /** What killed or failed publishers left behind. */
  get leftovers(): string[] {
    return readdirSync(this.folder).filter((name) => name.startsWith(`${basename(this.path)}.new`));
  }

  /** A program of the test's own. */
  script(name: string, body: string): string {
    const file = join(this.root, name);
    writeFileSync(file, `#!/bin/sh\n${body}\n`, { mode: 0o755 });
    return file;
  }

  remove(): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}
