// `node hello.mjs < TOKEN_FILE`: connects, and says who it is.

import { text } from 'node:stream/consumers';
import { keepBound } from './daemon.mjs';

const token = (await text(process.stdin)).trim();
await keepBound({
  socket: process.env.IMD_SOCKET ?? `${process.env.XDG_RUNTIME_DIR}/imd/imd.sock`,
  appKey: 'demo',
  appId: 'org.example.Hello',
  told: ({ status, status_name, reason }) => console.log(`${status_name} (${status}): ${reason}`),
  live: async (binding) => {
    for await (const { event, success, error } of binding.stream('session', 'Connect', { token, connect_id: 'hello' })) {
      if (event === 'success') console.log(`connected as ${success.user_id}`);
      if (event === 'error') console.log(`${error.code_name} (${error.code}): ${error.action}`);
      if (event !== 'database_opened') process.exit();
    }
  },
});
