/** Run by the build: bundles the workflows, so that no worker has to at its start. */
import { writeFile } from 'node:fs/promises';
import { bundleWorkflowCode } from '@temporalio/worker';
import { bundlePath, workflowSources } from './workflow-bundle.ts';

const silent = { ...console, log() {}, trace() {}, debug() {}, info() {} };
const { code } = await bundleWorkflowCode({ ...workflowSources(), logger: silent });
await writeFile(bundlePath, code);
