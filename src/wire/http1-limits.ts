// The bounds of the HTTP/1.1 codec. Everything below is read before anybody has proven who they are.

/** Bytes of a head: start line and all field lines. */
export const HEAD_BYTES = 32_768;
/** Field lines of a head. */
export const HEAD_FIELDS = 100;
/** Characters of a request target. */
export const TARGET_BYTES = 8_192;
/** Characters of a method. */
export const METHOD_BYTES = 32;
/** Hexadecimal digits of a chunk size: a chunk is at most 256 TiB, so that sums stay exact. */
export const CHUNK_SIZE_DIGITS = 12;
/** Bytes of chunk extensions in one body, which mean nothing to us and are dropped. */
export const CHUNK_EXTENSION_BYTES = 4_096;
/** Bytes and field lines of a trailer section. */
export const TRAILER_BYTES = 8_192;
export const TRAILER_FIELDS = 32;
