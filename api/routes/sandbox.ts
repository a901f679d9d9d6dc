import { Type } from 'typebox';
import { listSandboxCharges } from '../../activities/sandbox-gateway.ts';
import { Charge, Id } from '../../domain/model.ts';
import { requireReservation, type Api, type ApiDependencies } from '../http.ts';
import { refusals } from '../problems.ts';

/** Only with the sandbox gateway: what it charged, to compare with what was booked. */
export async function sandboxRoutes(api: Api, { database, queries }: ApiDependencies): Promise<void> {
  api.get(
    '/sandbox/charges',
    {
      config: { access: 'buyer' },
      schema: {
        operationId: 'listCharges',
        summary: "The sandbox gateway's charges of a reservation",
        tags: ['sandbox'],
        querystring: Type.Object({ reservation_id: Id }, { additionalProperties: false }),
        response: { 200: Type.Object({ charges: Type.Array(Charge) }), ...refusals(400, 404, 503) },
      },
    },
    async ({ query: { reservation_id }, caller }) => {
      if (!caller.isOperator) await requireReservation(queries, reservation_id, caller);
      return { charges: await listSandboxCharges(database, reservation_id) };
    },
  );
}
