/** Posts a notification to a URL, as JSON. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Deadline } from '../domain/deadline.js';
import { reasonOf } from '../domain/errors.js';
import type { Message, Send } from './outlet.js';

/** How long after a try the next one comes; then it is given up. */
const RETRIES_MS = [1_000, 5_000];

/** Each try takes `timeoutMs` at most. Redirects are not followed: they might lead the message, or its secret, astray. */
export function webhookSend(url: string, timeoutMs: number): Send {
  return async (message, signal) => {
    for (let tried = 0; ; tried++) {
      const failure = await post(url, message, timeoutMs, signal);
      if (failure === null) return;
      const waitMs = RETRIES_MS[tried];
      if (!failure.mayPass || waitMs === undefined || signal.aborted) throw new Error(failure.reason);
      await sleep(waitMs, undefined, { signal }).catch(() => undefined);
    }
  };
}

interface Failure {
  readonly reason: string;
  /** Is another try worth it? */
  readonly mayPass: boolean;
}

async function post(url: string, message: Message, timeoutMs: number, signal: AbortSignal): Promise<Failure | null> {
  const deadline = new Deadline(timeoutMs, signal);
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'User-Agent': 'blockd' },
      body: JSON.stringify(message),
      redirect: 'manual',
      signal: deadline.signal,
    });
    // What it says is nothing to us, however long it is.
    await response.body?.cancel().catch(() => undefined);
    return failureOf(response);
  } catch (error) {
    if (signal.aborted) return { reason: 'blockd ended before it was delivered', mayPass: false };
    if (deadline.signal.aborted) return { reason: `no answer within ${timeoutMs / 1_000} s`, mayPass: true };
    return { reason: reasonOf((error as Error).cause ?? error), mayPass: true };
  } finally {
    deadline.close();
  }
}

function failureOf({ status, ok }: Response): Failure | null {
  if (ok) return null;
  if (status >= 300 && status < 400)
    return { reason: `it answered ${status}, a redirect, which is not followed: name the right URL`, mayPass: false };
  return { reason: `it answered ${status}`, mayPass: status >= 500 || status === 408 || status === 429 };
}
