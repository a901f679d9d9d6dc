/** Which rows of `events` are audited: until the longest hold that began with the last show has ended. */
export const IS_ON_SALE = `
greatest(date, (SELECT max(show_time) FROM unnest(show_times) AS show_time)) > now() - interval '2 hours'`;
