import { ValueError, type Payload, type PayloadCodec } from '@temporalio/common';
import proto from '@temporalio/proto';
import { Type } from 'typebox';
import type { Api } from '../http.ts';
import { Problem, refusals } from '../problems.ts';

const BODY_LIMIT_BYTES = 1024 * 1024;

const Base64 = Type.String({ pattern: '^[A-Za-z0-9+/]*={0,2}$' });

/** Protobuf as JSON: bytes are base64. */
const Payloads = Type.Object({
  payloads: Type.Array(
    Type.Object({ metadata: Type.Optional(Type.Record(Type.String(), Base64)), data: Type.Optional(Base64) }),
    { maxItems: 1_000 },
  ),
});

const { Payloads: Message } = proto.temporal.api.common.v1;

/** Decodes for operators what the Temporal UI and command line show, as their codec server. */
export async function codecRoutes(api: Api, codec: PayloadCodec): Promise<void> {
  const calls = { '/codec/decode': codec.decode, '/codec/encode': codec.encode };
  for (const [path, code] of Object.entries(calls)) {
    api.post(
      path,
      {
        bodyLimit: BODY_LIMIT_BYTES,
        config: { access: 'operator' },
        schema: { hide: true, body: Payloads, response: refusals(400, 413, 415, 422) },
      },
      async ({ body }) => {
        const payloads = await orRefuse(code(Message.fromObject(body).payloads));
        return Message.toObject(Message.create({ payloads }), { bytes: String });
      },
    );
  }
}

async function orRefuse(coded: Promise<Payload[]>): Promise<Payload[]> {
  try {
    return await coded;
  } catch (error) {
    if (error instanceof ValueError) throw new Problem('UNREADABLE_PAYLOAD', error.message);
    throw error;
  }
}
