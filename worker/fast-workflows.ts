/**
 * Optional, by `node --import ./dist/worker/fast-workflows.js …`: takes two costs off every call into a workflow.
 *
 * - The SDK runs a workflow with a timeout of the VM, and Node makes a thread for every such call to keep it (150 µs
 *   instead of 1 µs; nodejs/node#47739). Without it, a workflow that loops for ever hangs its worker thread instead of
 *   failing its task; ours has no loop without an await.
 * - The SDK takes a stack trace for every promise, for the call stack tab of the Temporal UI. Without its hook on
 *   promises it takes none, and that tab stays empty.
 *
 * Only the threads that workflows run in are changed. Measured in the README.
 */
import v8 from 'node:v8';
import vm from 'node:vm';
import { isMainThread } from 'node:worker_threads';

if (!isMainThread) {
  const runInContext = Reflect.get(vm.Script.prototype, 'runInContext');
  vm.Script.prototype.runInContext = function (context, { timeout: _, ...options } = {}) {
    return Reflect.apply(runInContext, this, [context, options]);
  };
  Object.defineProperty(v8, 'promiseHooks', { value: { createHook: () => () => undefined } });
}
