import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { DefaultLogger, bundleWorkflowCode } from '@temporalio/worker';
import { expect } from 'vitest';
import { workflowSources } from '../../worker/workflow-bundle.ts';

/** The workflows as they would be with two expressions of a file swapped. */
export async function bundleMutant(file: string, one: string, other: string) {
  const mutant = await mkdtemp(join(tmpdir(), 'holdfast-mutant-'));
  try {
    for (const part of ['workflows', 'activities', 'domain']) await cp(part, join(mutant, part), { recursive: true });
    await symlink(resolve('node_modules'), join(mutant, 'node_modules'));
    const path = join(mutant, 'workflows', file);
    const code = await readFile(path, 'utf8');
    for (const part of [one, other]) expect(code.split(part), `${part} in ${file}`).toHaveLength(2);
    await writeFile(path, code.replace(one, '\0').replace(other, one).replace('\0', other));
    return await bundleWorkflowCode({
      ...workflowSources(pathToFileURL(`${mutant}/`)),
      logger: new DefaultLogger('ERROR'),
    });
  } finally {
    await rm(mutant, { recursive: true });
  }
}
