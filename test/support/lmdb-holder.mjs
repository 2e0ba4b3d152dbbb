// Takes the writer's lock of an LMDB store and keeps it until it is killed: lmdb-holder.mjs FOLDER
import { open } from 'lmdb';

const root = open({ path: process.argv[2], maxDbs: 16, encoding: 'json' });
root.transactionSync(() => {
  process.stdout.write('held\n');
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
});
