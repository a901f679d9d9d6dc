/**
 * What a workflow is told and answers, encrypted before it leaves for Temporal: whoever reads a history there, or its
 * database, sees no person, no payment token and no charge. AES-256-GCM, NIST SP 800-38D.
 */
import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { ValueError, type DataConverter, type Payload, type PayloadCodec } from '@temporalio/common';
import proto from '@temporalio/proto';

const CIPHER = 'aes-256-gcm';
/** Random for each payload, which is safe for 2^32 payloads of one key (8.3): rotate it before then. */
const IV_BYTES = 12;
const TAG_BYTES = 16;

const ENCODING = 'binary/encrypted';

interface Key {
  /** Names the key in the open, and tells nothing of it. */
  id: string;
  bytes: Buffer;
}

function toKey(base64: string): Key {
  const bytes = Buffer.from(base64, 'base64');
  return { id: createHmac('sha256', bytes).update('key id').digest('hex').slice(0, 16), bytes };
}

/** Not encoded by us: from an operator's command line, or from before there was a key. */
const isPlain = ({ metadata }: Payload) => text(metadata?.['encoding']) !== ENCODING;

const text = (bytes: Uint8Array | null | undefined) => Buffer.from(bytes ?? []).toString();

/** The whole payload is encrypted, its metadata included. */
function encrypt(payload: Payload, key: Key): Payload {
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv(CIPHER, key.bytes, iv);
  const plain = proto.temporal.api.common.v1.Payload.encode(payload).finish();
  return {
    metadata: { encoding: Buffer.from(ENCODING), 'encryption-key-id': Buffer.from(key.id) },
    data: Buffer.concat([iv, cipher.update(plain), cipher.final(), cipher.getAuthTag()]),
  };
}

function decrypt({ metadata, data }: Payload, keys: Map<string, Key>): Payload {
  const id = text(metadata?.['encryption-key-id']);
  const key = keys.get(id);
  if (!key) throw new ValueError(`a payload is encrypted with the key ${id}, which is not in ENCRYPTION_KEY`);
  const sealed = data ?? Buffer.alloc(0);
  try {
    const decipher = createDecipheriv(CIPHER, key.bytes, sealed.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES });
    decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
    const plain = Buffer.concat([decipher.update(sealed.subarray(IV_BYTES, -TAG_BYTES)), decipher.final()]);
    return proto.temporal.api.common.v1.Payload.decode(plain);
  } catch (error) {
    throw new ValueError('a payload was altered or cut short', error);
  }
}

/**
 * Encrypts with the first key and decrypts with whichever was used, so that a key can be rotated: put the new one last
 * in every process, then first, and take the old one out when the last history that was written with it is gone. Plain
 * payloads pass.
 * @param keys base64 of 32 bytes each, separated by commas; undefined: everything stays plain
 */
export function createPayloadCodec(keys: string | undefined): PayloadCodec | undefined {
  const [first, ...older] = (keys?.split(',') ?? []).map(toKey);
  if (!first) return undefined;
  const byId = new Map([first, ...older].map((key) => [key.id, key]));
  return {
    encode: async (payloads) => payloads.map((payload) => encrypt(payload, first)),
    /** @throws ValueError where the key is not known, or the payload is not what was encrypted */
    decode: async (payloads) => payloads.map((it) => (isPlain(it) ? it : decrypt(it, byId))),
  };
}

/** For every client and worker. An error's message may quote what it failed on, so these are encrypted as well. */
export function createDataConverter(codec: PayloadCodec | undefined): DataConverter {
  if (!codec) return {};
  const module = import.meta.url.endsWith('.ts') ? './failure-converter.ts' : './failure-converter.js';
  return { payloadCodecs: [codec], failureConverterPath: fileURLToPath(new URL(module, import.meta.url)) };
}
