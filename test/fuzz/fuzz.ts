/** Schemathesis against a running API: what its OpenAPI document promises, tried with what nobody would send. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findSchemathesis } from '../../dev/tools.ts';
import { addSeats } from '../support/house.ts';
import { tokenFor } from '../support/tokens.ts';
import type { Stores } from '../support/stores.ts';

const FOLDER = fileURLToPath(new URL('.', import.meta.url));
const EVENT = 'fuzz';
const SEATS = 400;
const BUYER = 'ann';

/** Every value that a schema allows or just does not, once; what is left of the cases is drawn, for each operation. */
const SYSTEMATIC_CASES = 450;
const OPERATIONS = 9;

const log = (line: string) => process.stderr.write(`${line}\n`);

/** Puts the one event on sale that `schemathesis.toml` knows of; answers the layout of its seats. */
async function openHouse(url: string, { database }: Stores): Promise<string> {
  await database.query('TRUNCATE events CASCADE');
  await database.query(
    `INSERT INTO events (event_id, name, date) VALUES ($1, 'A concert', now() + interval '30 days')`,
    [EVENT],
  );
  await addSeats(database, EVENT, SEATS);
  const { headers } = await fetch(`${url}/api/v1/events/${EVENT}/seats?format=compact`);
  return /layouts\/([^>?]+)/.exec(headers.get('link') ?? '')?.[1] ?? '';
}

/** @returns how often each operation answered each status, and all that Schemathesis said, with what it found */
export async function fuzz(url: string, stores: Stores, { cases, seed }: { cases: number; seed: number }) {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-fuzz-'));
  const answersFile = join(folder, 'answers.json');
  const examples = Math.ceil((cases - SYSTEMATIC_CASES) / OPERATIONS);
  // Its one worker by default: several are no quicker, and Python before 3.11.8 fails in them (python/cpython#106905).
  const options = { seed, 'max-examples': examples, 'no-color': '' };
  const child = spawn(
    'python3',
    [
      ...['-m', 'schemathesis.cli', '--config-file', 'schemathesis.toml', 'run', `${url}/openapi.json`],
      ...Object.entries(options).flatMap(([name, value]) => [`--${name}`, ...(value === '' ? [] : [String(value)])]),
    ],
    {
      cwd: FOLDER,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...process.env,
        PYTHONPATH: await findSchemathesis(log),
        PYTHONDONTWRITEBYTECODE: '1',
        FUZZ_ANSWERS: answersFile,
        FUZZ_LAYOUT: await openHouse(url, stores),
        FUZZ_SEATS: String(SEATS),
        FUZZ_BUYER: BUYER,
        FUZZ_TOKEN: await tokenFor(BUYER),
      },
    },
  );
  log(`about ${cases} cases from seed ${seed}`);
  let said = '';
  child.stdout.on('data', (text: Buffer) => (said += text.toString()));
  child.stderr.on('data', (text: Buffer) => log(text.toString().trimEnd()));
  await once(child, 'close');
  const answers: Record<string, number> = JSON.parse(await readFile(answersFile, 'utf8'));
  log(summary(answers));
  await rm(folder, { recursive: true });
  return { code: child.exitCode, answers, said };
}

/** One line for each operation: `POST /api/v1/bookings  201: 12  402: 3`. */
function summary(answers: Record<string, number>): string {
  const lines = new Map<string, string[]>();
  for (const answer of Object.keys(answers).sort()) {
    const operation = answer.slice(0, -' 200'.length);
    lines.set(operation, [...(lines.get(operation) ?? [operation]), `${answer.slice(-3)}: ${answers[answer]}`]);
  }
  return [...lines.values()].map((line) => line.join('  ')).join('\n');
}
