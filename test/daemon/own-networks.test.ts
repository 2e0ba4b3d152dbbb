import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pino from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { OwnNetworks } from '../../src/daemon/own-networks.js';

let folder: string;
let said: string[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'blockd-own-networks-'));
  said = [];
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A postconf that notes each question and answers with `answer`. */
function networksBy(answer: string, ...set: string[]): OwnNetworks {
  const postconf = join(folder, 'postconf');
  writeFileSync(postconf, `#!/bin/sh\necho "$*" >> ${folder}/asked\n${answer}\n`);
  chmodSync(postconf, 0o755);
  const logger = pino({ base: null }, { write: (line: string) => said.push(line) });
  const { config } = loadConfig({ set: [`postfix.postconf=${postconf}`, ...set] });
  return new OwnNetworks(config, logger);
}

function asked(): number {
  const file = join(folder, 'asked');
  return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').length : 0;
}

test('Postfix is asked before anybody wants to know, and anew each further time', async () => {
  writeFileSync(join(folder, 'answer'), '192.0.2.0/24\n');
  const networks = networksBy(`cat ${folder}/answer`);
  for (let tries = 0; asked() === 0 && tries < 500; tries++) await sleep(10);
  expect(asked()).toBe(1);
  expect(await networks.read()).toEqual(['192.0.2.0/24']);
  expect(asked()).toBe(1);
  writeFileSync(join(folder, 'answer'), '198.51.100.0/24\n');
  expect(await networks.read()).toEqual(['198.51.100.0/24']);
  expect(asked()).toBe(2);
  expect(said).toEqual([]);
});

test('a Postfix that can not tell is told of when it matters, and asked again', async () => {
  const networks = networksBy('echo "postconf: fatal: no such thing" >&2; exit 1');
  for (let tries = 0; asked() === 0 && tries < 500; tries++) await sleep(10);
  await sleep(100);
  expect(said).toEqual([]);
  expect(await networks.read()).toEqual([]);
  expect(said.join()).toMatch(/can't read mynetworks from Postfix.*no such thing/);
  expect(await networks.read()).toEqual([]);
  expect(said).toHaveLength(2);
});

test('nobody is asked where the config does not want it', async () => {
  const networks = networksBy('echo 192.0.2.0/24', 'allow.mynetworks=false');
  expect(await networks.read()).toEqual([]);
  expect(asked()).toBe(0);
});
