import { fileURLToPath } from 'node:url';
import type { WorkerOptions } from '@temporalio/worker';

/** Where the build leaves the workflows as one file; beside this module once it is compiled. */
export const bundlePath = fileURLToPath(new URL('./workflows.bundle.js', import.meta.url));

/** The workflows as the build bundled them, so that no worker has to at its start. */
export const builtWorkflows: Pick<WorkerOptions, 'workflowBundle'> = { workflowBundle: { codePath: bundlePath } };

/** The workflows' entry: compiled beside compiled code, sources beside sources. */
export const workflowsPath = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? '../workflows/index.ts' : '../workflows/index.js', import.meta.url),
);
