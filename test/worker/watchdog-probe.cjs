// Runs a script for 30 ms with a timeout of 5 ms, in the main thread and in another, and says what became of it.
const { isMainThread, Worker } = require('node:worker_threads');
const vm = require('node:vm');

const busy = new vm.Script('for (const end = Date.now() + 30; Date.now() < end;);');
let outcome = 'not stopped';
try {
  busy.runInContext(vm.createContext({ Date }), { timeout: 5 });
} catch (error) {
  outcome = error.code;
}
console.log(isMainThread ? 'main' : 'thread', outcome);
if (isMainThread) void new Worker(__filename);
