import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { WorkflowBundleOption } from '@temporalio/worker';

/** Where the build leaves the workflows as one file; beside this module once it is compiled. */
export const bundlePath = fileURLToPath(new URL('./workflows.bundle.js', import.meta.url));

/** The bundle that the build made, else none: then a worker bundles the sources at its start. */
export function prebuiltWorkflows(): WorkflowBundleOption | undefined {
  return existsSync(bundlePath) ? { codePath: bundlePath } : undefined;
}

/** The workflows' entry: compiled beside compiled code, sources beside sources. */
export const workflowsPath = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? '../workflows/index.ts' : '../workflows/index.js', import.meta.url),
);
