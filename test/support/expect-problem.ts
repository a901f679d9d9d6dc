import { expect } from 'vitest';
import type { ProblemBody, Reply } from './buyer.ts';

/** An RFC 9457 answer with everything that the contract promises of one. */
export function expectProblem({ status, headers, body }: Reply<ProblemBody>, wanted: number, code: string): void {
  expect({ status, code: body.code }, body.detail).toEqual({ status: wanted, code });
  expect(headers.get('content-type')).toMatch(/^application\/problem\+json/);
  expect(headers.get('x-request-id')).toMatch(/./);
  expect(body).toMatchObject({
    type: expect.stringMatching(/./),
    title: expect.stringMatching(/./),
    status,
    detail: expect.stringMatching(/./),
    instance: expect.stringMatching(/^\//),
  });
}
