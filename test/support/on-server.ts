import pg from 'pg';

/** Runs a statement about databases, which takes a session in none of them. */
export async function runOnServer(databaseUrl: string, statement: string): Promise<void> {
  const server = Object.assign(new URL(databaseUrl), { pathname: '/postgres' });
  const admin = new pg.Client({ connectionString: server.href });
  await admin.connect();
  try {
    await admin.query(statement);
  } finally {
    await admin.end();
  }
}
