// A chat in a terminal: `node chat.mjs PEER CURSOR_FILE`. The first line of the standard input is the token, each further one
// is sent to PEER. What PEER writes is printed once, however often the daemon dies, and after a restart it goes on from the
// cursor in CURSOR_FILE.

import { randomUUID } from 'node:crypto';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { codeOf, keepBound } from './daemon.mjs';

const [peer, cursorFile] = process.argv.slice(2);
if (cursorFile === undefined) {
  console.error('usage: node chat.mjs PEER CURSOR_FILE');
  process.exit(2);
}
const socket = process.env.IMD_SOCKET ?? `${process.env.XDG_RUNTIME_DIR}/imd/imd.sock`;
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const token = (await lines.next()).value;

// What has not been answered is sent again under the same uid: it is the same message.
const unanswered = [];
let current;

// The same connect_id is the same connect for ever; one that has ended is not made again.
const connect = { token, connect_id: randomUUID(), time_limit_seconds: 0, database_opened_seen: false };
const ACTIVE = new Set([-1, 0, 1, 13]);
let hasSucceeded = false;

// The daemon is gone (-2), stops (90005) or hangs (90001): everything goes on at the next one.
const PASSING = new Set([-2, 90001, 90005]);

function fail(error) {
  const code = codeOf(error);
  if (PASSING.has(code)) return;
  console.error(`${code}: ${error.details}`);
  process.exit(1);
}

async function keepConnected(binding, hello) {
  if (hasSucceeded && !ACTIVE.has(hello.status.status)) return;
  for await (const { event, database_opened, success, error } of binding.stream('session', 'Connect', connect)) {
    if (event === 'database_opened') {
      connect.database_opened_seen = true;
      if (database_opened.code === 0) console.log('onDatabaseOpened');
    } else if (event === 'success') {
      if (!hasSucceeded) console.log(`onSuccess ${success.user_id}`);
      hasSucceeded = true;
    } else if (event === 'error') {
      console.log(`onError ${error.code_name} (${error.code}): ${error.text} ${error.action}`);
      process.exit(1);
    }
  }
}

function start() {
  try {
    return { cursor: JSON.parse(readFileSync(cursorFile, 'utf8')) };
  } catch {
    return { tail: true };
  }
}

function keep(cursor) {
  writeFileSync(`${cursorFile}.new`, JSON.stringify(cursor));
  renameSync(`${cursorFile}.new`, cursorFile);
}

async function receive(binding) {
  for await (const { content, started, events } of binding.stream('events', 'Subscribe', start())) {
    if (content === 'started') {
      keep(started.cursor);
      // An account is open from here on: before, a message would be refused.
      current = binding;
      sendAll();
      continue;
    }
    for (const event of events.events) {
      const { message } = event;
      if (event.content === 'message' && message.direction === 'DIRECTION_RECEIVE' && message.object_name === 'RC:TxtMsg') {
        console.log(`${message.sender_user_id}: ${JSON.parse(message.content).content}`);
      }
      keep(event.cursor);
    }
  }
}

let isSending = false;
async function sendAll() {
  if (isSending) return;
  isSending = true;
  while (current !== undefined && unanswered.length > 0) {
    const binding = current;
    try {
      await binding.call('messages', 'SendMessage', unanswered[0]);
      unanswered.shift();
    } catch (error) {
      fail(error);
      if (codeOf(error) !== 90001 && current === binding) current = undefined;
    }
  }
  isSending = false;
}

keepBound({
  socket,
  appKey: 'demo',
  appId: 'org.example.NodeChat',
  told: ({ status, status_name, reason }) => {
    if (status === -2) current = undefined;
    console.log(`status ${status_name} (${status})${reason && `: ${reason}`}`);
  },
  live: (binding, hello) => {
    keepConnected(binding, hello).catch(fail);
    receive(binding).catch(fail);
  },
}).catch(fail);

for await (const text of lines) {
  const conversation = { type: 'CONVERSATION_TYPE_PRIVATE', target_id: peer };
  const content = Buffer.from(JSON.stringify({ content: text }));
  unanswered.push({ conversation, object_name: 'RC:TxtMsg', content, uid: randomUUID() });
  sendAll();
}
