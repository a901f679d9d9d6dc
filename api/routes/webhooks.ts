import { Type } from 'typebox';
import { Value } from 'typebox/value';
import { Id } from '../../domain/model.ts';
import { listOf } from '../../runtime/config.ts';
import type { Api, ApiDependencies } from '../http.ts';
import { Problem, refusals } from '../problems.ts';
import { verifySignature } from '../webhook-signature.ts';
import { ChargeData, WebhookEvent, isOfCharge } from '../webhooks.ts';

const Receipt = Type.Object({
  event_id: Id,
  delivered: Type.Boolean({ description: 'false: it is stored, and will be delivered' }),
});

/** @throws Problem INVALID_REQUEST, naming each field of `data` that is wrong */
function requireCharge(event: WebhookEvent): void {
  if (Value.Check(ChargeData, event.data)) return;
  const errors = Value.Errors(ChargeData, event.data).map(({ instancePath, message }) => ({
    path: ['data', ...instancePath.split('/').slice(1)].join('.'),
    detail: message,
  }));
  throw new Problem('INVALID_REQUEST', 'The data is not that of a charge.', { errors });
}

/** Where the payment gateway tells of charges; only what it signed is read. */
export async function webhookRoutes(api: Api, { config, webhooks }: ApiDependencies): Promise<void> {
  const secrets = listOf(config.WEBHOOK_SECRET);

  await api.register(async (signed: Api) => {
    const parseJson = signed.getDefaultJsonParser('error', 'error');
    signed.removeContentTypeParser('application/json');
    signed.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, (request, body, done) => {
      try {
        verifySignature(request.headers['webhook-signature']?.toString(), body, secrets);
      } catch (error) {
        return done(error instanceof Error ? error : new Error(String(error)));
      }
      void parseJson(request, body.toString(), done);
    });

    signed.post(
      '/webhooks/payments',
      {
        config: { access: 'public' },
        schema: {
          summary: 'What the payment gateway tells of charges',
          description:
            'Signed by `Webhook-Signature: t=<unix seconds>,v1=<hex>`, where v1 is the HMAC-SHA256 of `<t>.<body>`. ' +
            'An event is taken once, by its id; of a type that is not known it is enough to know that it came.',
          tags: ['webhooks'],
          headers: Type.Object({ 'webhook-signature': Type.String() }),
          body: WebhookEvent,
          response: { 200: Receipt, 202: Receipt, ...refusals(400, 413, 415, 503) },
        },
      },
      async ({ body }, reply) => {
        if (isOfCharge(body)) requireCharge(body);
        const delivered = await webhooks.receive(body);
        return reply.code(delivered ? 200 : 202).send({ event_id: body.id, delivered });
      },
    );
  });
}
