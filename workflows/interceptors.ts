import { CancellationScope, condition, type WorkflowInterceptorsFactory } from '@temporalio/workflow';

/** Resolves once all else of the current activation has run: conditions are looked at after everything else. */
function endOfActivation(): Promise<void> {
  let looks = 0;
  return CancellationScope.nonCancellable(() => condition(() => looks++ > 0));
}

/**
 * What a local activity became is heard of last. A message of the same workflow task came before it, each at a time of
 * its own; a replay gives both to the workflow at once, and they must not race for who writes to the history first.
 */
export const interceptors: WorkflowInterceptorsFactory = () => ({
  outbound: [
    {
      async scheduleLocalActivity(input, next) {
        try {
          return await next(input);
        } finally {
          await endOfActivation();
        }
      },
    },
  ],
});
