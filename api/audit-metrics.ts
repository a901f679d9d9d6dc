import type { Pool } from 'pg';
import { Gauge, type Registry } from 'prom-client';
import { IS_ON_SALE } from '../audit/on-sale.ts';

const FAULTS = `
SELECT kind AS label, sum(count::int)::int AS value
FROM audits JOIN events USING (event_id), jsonb_each_text(faults) AS fault (kind, count)
WHERE ${IS_ON_SALE} GROUP BY kind`;

const HEALED = `
SELECT lower(status) AS label, count(*)::int AS value FROM reservations WHERE healed_at IS NOT NULL GROUP BY status
UNION ALL SELECT 'locks', sum(locks_deleted)::int FROM audits HAVING count(*) > 0`;

const SECONDS_SINCE = `
SELECT max(coalesce(extract(epoch FROM now() - audited_at)::float8, 'Infinity')) AS value
FROM events LEFT JOIN audits USING (event_id) WHERE ${IS_ON_SALE} HAVING count(*) > 0`;

interface Sample {
  label?: string;
  value: number;
}

/** What the last audit of each event on sale found, read when it is asked for; nothing while PostgreSQL is away. */
export function exposeAudits(registry: Registry, database: Pool): void {
  const gauge = (name: string, help: string, sql: string, labelName?: string) =>
    new Gauge({
      name,
      help,
      labelNames: labelName === undefined ? [] : [labelName],
      registers: [registry],
      async collect() {
        if (labelName === undefined) this.remove();
        else this.reset(); // which leaves a 0 where there is no label
        const { rows } = await database.query<Sample>(sql).catch(() => ({ rows: [] }));
        for (const { label, value } of rows) {
          if (labelName === undefined || label === undefined) this.set(value);
          else this.set({ [labelName]: label }, value);
        }
      },
    });
  gauge('holdfast_audit_faults', 'What the last audit of each event on sale found, by kind', FAULTS, 'kind');
  gauge(
    'holdfast_audit_healed',
    'Reservations that audits ended, by ending, and locks that they deleted',
    HEALED,
    'what',
  );
  gauge(
    'holdfast_audit_age_seconds',
    'Since the last audit, of the event on sale that waits longest: +Inf where one never was audited',
    SECONDS_SINCE,
  );
}
