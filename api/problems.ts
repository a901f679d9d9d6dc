import { Type, type TSchema } from 'typebox';

/** Every way in which a request is refused: its word, its HTTP status and what it is called (RFC 9457). */
const PROBLEMS = {
  INVALID_REQUEST: [400, 'The request is not valid'],
  INVALID_SIGNATURE: [400, 'The signature is not valid'],
  SHOW_TIME_REQUIRED: [400, 'The event has several shows: name one'],
  UNAUTHENTICATED: [401, 'A valid bearer token is needed'],
  PAYMENT_DECLINED: [402, 'The payment was declined'],
  USER_MISMATCH: [403, 'The user is not the one who asks'],
  FORBIDDEN: [403, 'This is for operators'],
  NOT_FOUND: [404, 'Nothing is here'],
  EVENT_NOT_FOUND: [404, 'No such event'],
  SHOW_NOT_FOUND: [404, 'The event has no such show'],
  LAYOUT_NOT_FOUND: [404, 'The seats are laid out otherwise now'],
  RESERVATION_NOT_FOUND: [404, 'No such reservation'],
  BOOKING_NOT_FOUND: [404, 'No such booking'],
  METHOD_NOT_ALLOWED: [405, 'The method is not allowed here'],
  REQUEST_TIMEOUT: [408, 'The request took too long to arrive'],
  SEATS_UNAVAILABLE: [409, 'Some of the seats are taken'],
  SEAT_LIMIT_REACHED: [409, 'The user may not have so many seats of this event'],
  ALREADY_CONFIRMED: [409, 'The reservation is confirmed'],
  RESERVATION_RELEASED: [409, 'The reservation was released'],
  RESERVATION_NOT_HELD: [409, 'The reservation holds no seats'],
  PAYMENT_IN_PROGRESS: [409, 'A payment of this reservation is in progress'],
  TOO_MANY_PAYMENTS: [409, 'Too many payments of this reservation were declined'],
  RESERVATION_EXPIRED: [410, 'The hold has expired'],
  BODY_TOO_LARGE: [413, 'The body is too large'],
  UNSUPPORTED_MEDIA_TYPE: [415, 'The body must be application/json'],
  SEATS_NOT_IN_EVENT: [422, 'Some of the seats are not in this event'],
  UNREADABLE_PAYLOAD: [422, 'A payload cannot be decrypted'],
  IDEMPOTENCY_KEY_REUSED: [422, 'The idempotency key was used with another body'],
  RATE_LIMITED: [429, 'Too many requests'],
  HEADERS_TOO_LARGE: [431, 'The headers are too large'],
  INTERNAL_ERROR: [500, 'Something went wrong on our side'],
  NOT_READY: [503, 'A dependency that is needed is down'],
  OVERLOADED: [503, 'Too many buyers at once'],
  UNAVAILABLE: [503, 'The service cannot answer right now'],
  PAYMENT_UNAVAILABLE: [503, 'The payment gateway cannot answer right now'],
} as const satisfies Record<string, readonly [number, string]>;

export type ProblemCode = keyof typeof PROBLEMS;

export const PROBLEM_MEDIA_TYPE = 'application/problem+json; charset=utf-8';

/** A refusal that the client is told of. */
export class Problem extends Error {
  override name = 'Problem';
  readonly status: number;
  readonly title: string;
  readonly headers: Readonly<Record<string, string>>;

  /**
   * @param detail what is wrong with this request, for a person
   * @param members what a program can use, beside the standard members
   * @param headers of the answer; every 503 says when to come back, in a second where nothing else is said
   */
  constructor(
    readonly code: ProblemCode,
    readonly detail: string,
    readonly members: Readonly<Record<string, unknown>> = {},
    headers: Readonly<Record<string, string>> = {},
  ) {
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0; // its code says enough, and the stack would be a twentieth of what a refusal costs
    super(detail);
    Error.stackTraceLimit = stackTraceLimit;
    [this.status, this.title] = PROBLEMS[code];
    this.headers = this.status === 503 ? { 'retry-after': '1', ...headers } : headers;
  }

  /** The body of the answer. */
  toBody(instance: string) {
    const { code, title, status, detail, members } = this;
    return {
      type: `urn:holdfast:problem:${code.toLowerCase().replaceAll('_', '-')}`,
      title,
      status,
      detail,
      instance,
      code,
      ...members,
    };
  }
}

export const isProblemCode = (word: string): word is ProblemCode => Object.hasOwn(PROBLEMS, word);

/** The answer where a service of ours is away or slow: nothing is known to have happened, and a retry is safe. */
export const unavailable = (detail: string) => new Problem('UNAVAILABLE', detail);

const problemBody = (codes: string[]) =>
  Type.Object(
    {
      type: Type.String({ format: 'uri' }),
      title: Type.String(),
      status: Type.Integer(),
      detail: Type.String(),
      instance: Type.String(),
      code: Type.Enum(codes),
      errors: Type.Optional(Type.Array(Type.Object({ path: Type.String(), detail: Type.String() }))),
      conflicts: Type.Optional(Type.Array(Type.String())),
      show_times: Type.Optional(Type.Array(Type.String())),
    },
    { additionalProperties: true },
  );

/** The response schemas of a route's refusals, for its documentation. */
export const refusals = <Status extends number>(...statuses: Status[]): Record<Status | 500, TSchema> => {
  const documented = [...statuses, 500].map((status) => {
    const codes = Object.entries(PROBLEMS).flatMap(([code, [of]]) => (of === status ? [code] : []));
    return [
      status,
      {
        description: codes.join(', '),
        content: { 'application/problem+json': { schema: problemBody(codes) } },
      },
    ];
  });
  return Object.fromEntries(documented);
};
