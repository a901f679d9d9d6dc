/** Loaded by Temporal's SDK, by its path and as it stands here: so it is plain JavaScript, too. */
import { DefaultFailureConverter } from '@temporalio/common';

/** Puts the message and the stack of a failure where the payload codec reaches them. */
export const failureConverter = new DefaultFailureConverter({ encodeCommonAttributes: true });
