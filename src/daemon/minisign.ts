/**
 * Signatures as minisign(1) makes and checks them: Ed25519 over the BLAKE2b-512 of a file, and once more over the signature
 * with its trusted comment. https://jedisct1.github.io/minisign/, "Signature format" and "Secret key format".
 */
import { createHash, createPrivateKey, type KeyObject, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { reasonOf, UsageError } from '../domain/errors.js';

export interface MinisignKey {
  readonly id: Buffer;
  readonly key: KeyObject;
}

const KEY_BYTES = 158;
const ID_AT = 54;
const ID_BYTES = 8;
const SEED_BYTES = 32;
/** RFC 8410: the private key of Ed25519 in PKCS #8, in front of its 32 bytes. */
const PKCS8_HEAD = Buffer.from('302e020100300506032b657004220420', 'hex');

/** @throws UsageError when this is no secret key of minisign without a password. */
export function readMinisignKey(file: string): MinisignKey {
  let text: string;
  try {
    text = readFileSync(file, 'latin1');
  } catch (error) {
    throw new UsageError(`export.sign_key: ${file} can't be read: ${reasonOf(error)}`, { cause: error });
  }
  const bytes = Buffer.from(text.split('\n')[1] ?? '', 'base64');
  if (bytes.length !== KEY_BYTES || bytes.toString('latin1', 0, 2) !== 'Ed')
    throw new UsageError(
      `export.sign_key: ${file} is no secret key of minisign; make one with "minisign -G -W -s ${file}"`,
    );
  if (bytes.readUInt16LE(2) !== 0)
    throw new UsageError(
      `export.sign_key: ${file} has a password, which nobody is there to type: make a key without one, "minisign -G -W -s ${file}"`,
    );
  const seed = bytes.subarray(ID_AT + ID_BYTES, ID_AT + ID_BYTES + SEED_BYTES);
  const key = createPrivateKey({ key: Buffer.concat([PKCS8_HEAD, seed]), format: 'der', type: 'pkcs8' });
  return { id: bytes.subarray(ID_AT, ID_AT + ID_BYTES), key };
}

/** The text of `NAME.minisig`. */
export function minisignature(content: string, name: string, { id, key }: MinisignKey, now: number): string {
  const signature = sign(null, createHash('blake2b512').update(content).digest(), key);
  const trusted = `timestamp:${Math.floor(now / 1_000)}\tfile:${name}\thashed`;
  const whole = sign(null, Buffer.concat([signature, Buffer.from(trusted)]), key);
  const line = Buffer.concat([Buffer.from('ED'), id, signature]).toString('base64');
  return `untrusted comment: bans of blockd\n${line}\ntrusted comment: ${trusted}\n${whole.toString('base64')}\n`;
}
