/** How the Dockerfile and the compose file run our processes, for those that are run without them. */

export const FAST_WORKFLOWS = ['--import', new URL('../worker/fast-workflows.js', import.meta.url).href];
export const HEAP_LIMIT = '--max-old-space-size=512';
export const ENVIRONMENT = { MALLOC_ARENA_MAX: '2' };
