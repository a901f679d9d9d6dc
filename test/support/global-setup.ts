/** Once per run: PostgreSQL, Redis and Temporal on free ports in a folder of their own, and the workflows' bundle. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundleWorkflowCode, DefaultLogger } from '@temporalio/worker';
import type { TestProject } from 'vitest/node';
import { DataDir } from '../../dev/data-dir.ts';
import { startServices } from '../../dev/services.ts';
import { findTemporalTestServer } from '../../dev/tools.ts';
import { prepareDatabase } from '../../db/prepare.ts';
import { workflowSources } from '../../worker/workflow-bundle.ts';
import { runOnServer } from './on-server.ts';

/** More than there are test files that start a system of their own. */
const NAMESPACES = 60;

declare module 'vitest' {
  export interface ProvidedContext {
    template_database_url: string;
    redis_url: string;
    temporal_address: string;
    temporal_test_server: string;
    workflow_bundle: string;
  }
}

export default async function setup(project: TestProject) {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-test-'));
  const log = (line: string) => console.error(line);
  const dataDir = await DataDir.acquire(folder, log);
  const services = await startServices({
    dataDir,
    log,
    namespaces: Array.from({ length: NAMESPACES }, (_, n) => `test-${n + 1}`),
    postgresSettings: { fsync: 'off' },
  });
  await prepareDatabase(services.database_url, 'on');
  // PostgreSQL does not copy a database that somebody is connected to, so nobody may be.
  const template = new URL(services.database_url).pathname.slice(1);
  await runOnServer(services.database_url, `ALTER DATABASE ${template} ALLOW_CONNECTIONS false`);
  const bundlePath = join(folder, 'workflows.bundle.js');
  const { code } = await bundleWorkflowCode({ ...workflowSources(), logger: new DefaultLogger('WARN') });
  await writeFile(bundlePath, code);

  project.provide('template_database_url', services.database_url);
  project.provide('redis_url', services.redis_url);
  project.provide('temporal_address', services.temporal_address);
  project.provide('temporal_test_server', await findTemporalTestServer(log));
  project.provide('workflow_bundle', bundlePath);

  return async () => {
    await services.stop();
    await dataDir.release();
    await rm(folder, { recursive: true });
  };
}
