// The way to imd: one client for each binding, the binding's id on every call, and codes read from a status's details.

import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';
import protobuf from 'protobufjs';

const IPC_DISCONNECT = -2;
const DEADLINE_EXCEEDED = 90001;

// The .proto files are the repository's own: IMD_PROTO, or where they lie from here.
const protos = process.env.IMD_PROTO ?? fileURLToPath(new URL('../../proto/proto', import.meta.url));
const files = ['session', 'message', 'event'].map((topic) => `imd/v1/${topic}.proto`);
const shape = { keepCase: true, longs: String, enums: String, defaults: true, oneofs: true };
const definition = loader.loadSync(files, { includeDirs: [protos], ...shape });
const { imd } = grpc.loadPackageDefinition(definition);

// The wire form of google.rpc.Status and google.rpc.ErrorInfo: how a code travels.
const details = protobuf.parse(`
  syntax = "proto3";
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
`, { keepCase: true }).root;

/** The code of a failed call: never told from its text. One that has none was made by the transport on the way. */
export function codeOf(error) {
  if (error.code === undefined) throw error;
  const [bytes] = error.metadata?.get('grpc-status-details-bin') ?? [];
  if (bytes === undefined) return error.code === grpc.status.DEADLINE_EXCEEDED ? DEADLINE_EXCEEDED : IPC_DISCONNECT;
  for (const { type_url, value } of details.lookupType('Status').decode(bytes).details) {
    if (!type_url.endsWith('/google.rpc.ErrorInfo')) continue;
    const info = details.lookupType('ErrorInfo').decode(value);
    if (info.domain === 'imd') return Number(info.metadata.code);
  }
  return IPC_DISCONNECT;
}

/** A binding: ends with `close`, and with the daemon. */
class Binding {
  constructor(socket) {
    const options = {
      // The name of a socket is no legal authority.
      'grpc.default_authority': 'localhost',
      // A fresh client with an old connection would not be a fresh one.
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_http_proxy': 0,
      'grpc.enable_retries': 0,
    };
    const service = (Service) => new Service(`unix:${socket}`, grpc.credentials.createInsecure(), options);
    this.services = {
      session: service(imd.v1.SessionService),
      messages: service(imd.v1.MessageService),
      events: service(imd.v1.EventService),
    };
    this.metadata = new grpc.Metadata();
  }

  /** A call with one answer, within 2 seconds. */
  call(service, method, request) {
    const options = { deadline: Date.now() + 2_000 };
    return new Promise((resolve, reject) => {
      const answer = (error, response) => (error ? reject(error) : resolve(response));
      this.services[service][method](request, this.metadata, options, answer);
    });
  }

  /** A call with many answers: `for await`. */
  stream(service, method, request) {
    return this.services[service][method](request, this.metadata);
  }

  close() {
    for (const service of Object.values(this.services)) service.close();
  }
}

/**
 * Keeps an app bound: a fresh binding for each daemon, under one instance id. `live(binding, hello)` is called for each; it
 * may begin streams and need not end them. `told` gets each status, and { status: -2 } once for each loss.
 */
export async function keepBound({ socket, appKey, appId, live, told }) {
  const app = { app_id: appId, instance_id: randomUUID(), protocol_min: 1, protocol_max: 1 };
  for (let pause = 10; ; pause = Math.min(pause * 2, 1_000)) {
    const binding = new Binding(socket);
    let isBound = false;
    try {
      const answers = binding.stream('session', 'Bind', app);
      // A daemon that hangs takes the call, and says no hello.
      const silent = setTimeout(() => answers.cancel(), 2_000);
      for await (const { event, hello, status, goodbye } of answers) {
        clearTimeout(silent);
        if (event === 'hello') {
          binding.metadata.set('imd-binding', hello.binding_id);
          await binding.call('session', 'Init', { app_key: appKey });
          isBound = true;
          pause = 10;
          told(hello.status);
          live(binding, hello);
        } else if (event === 'status') {
          told(status);
        } else if (event === 'goodbye') {
          console.error(`the daemon stops: ${goodbye.reason}`);
        }
      }
    } catch (error) {
      if (codeOf(error) !== IPC_DISCONNECT) throw error;
    } finally {
      binding.close();
      if (isBound) told({ status: IPC_DISCONNECT, status_name: 'DAEMON_LOST', reason: 'the daemon is gone' });
    }
    await sleep(pause);
  }
}
