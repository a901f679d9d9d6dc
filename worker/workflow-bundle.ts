import { fileURLToPath } from 'node:url';
import type { BundleOptions, WorkerOptions } from '@temporalio/worker';

/** Where the build leaves the workflows as one file; beside this module once it is compiled. */
export const bundlePath = fileURLToPath(new URL('./workflows.bundle.js', import.meta.url));

/** The workflows as the build bundled them, so that no worker has to at its start. */
export const builtWorkflows: Pick<WorkerOptions, 'workflowBundle'> = { workflowBundle: { codePath: bundlePath } };

/**
 * What a bundle is made of: compiled beside compiled code, sources beside sources. Its modules are loaded once for all
 * workflows of a worker, not anew for each, so none of them may keep anything of a workflow.
 */
export function workflowSources(root = new URL('..', import.meta.url)): BundleOptions {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const path = (name: string) => fileURLToPath(new URL(`workflows/${name}.${extension}`, root));
  const [workflows, interceptors] = [path('index'), path('interceptors')];
  return {
    workflowsPath: workflows,
    workflowInterceptorModules: [interceptors],
    preloadModules: ['@temporalio/workflow', workflows, interceptors],
  };
}
