/**
 * The id of a reservation's n-th booking (an earlier one FAILED): derived, so that a repeat names the same booking.
 * @param attempt 1 for the first payment tried
 */
export const bookingId = (reservationId: string, attempt: number) =>
  `${reservationId.replace(/^res_/, 'bkg_')}_${attempt}`;
