import { once } from 'node:events';
import { Value } from 'typebox/value';
import { Audience } from './audience.ts';
import { openLoop } from './load.ts';
import { ReaderPool } from './reader.ts';
import { latenciesByKind } from './stats.ts';
import { watch } from './viewers.ts';

process.once('disconnect', () => process.exit());
const audience = Value.Parse(Audience, JSON.parse(process.argv[2] ?? ''));
const live = await watch(new URL(audience.stream_url), audience.viewers);
const readers = new ReaderPool({ url: new URL(audience.maps_url), conditional: audience.conditional });
const reading = openLoop({
  per_second: audience.maps_per_second,
  seconds: audience.seconds,
  send: () => readers.read(),
});
process.send?.('here');
await once(process, 'message');
const maps = await reading;
live.close();
readers.close();
process.send?.({ live: latenciesByKind(live.samples), maps: latenciesByKind(maps) }, () => process.disconnect());
