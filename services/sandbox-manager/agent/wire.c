/*
 * Framing. A frame is: payload, CRC-32 of the payload (little endian), both byte-stuffed, then 0x7E.
 *
 *   0x7E ends a frame; inside one, 0x7E is sent as 7D 5E and 0x7D as 7D 5D (the HDLC rule, RFC 1662 §4.2).
 *
 * Why stuffing rather than a length in front: a manager may be killed in the middle of a frame and the next one
 * writes to the same pipe. It begins with a 0x7E; the half frame before it fails its checksum and is dropped, and
 * both sides are in step again. With a length prefix the next manager's bytes would be eaten as the lost rest.
 *
 * payload = type u8, epoch u32, id u32, fields. Integers little endian; bytes and strings as u32 length + content.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "agent.h"

static uint32_t crc_table[256];

static uint32_t crc32_of(const uint8_t *data, size_t len) {
  if (crc_table[1] == 0) {
    for (uint32_t n = 0; n < 256; n++) {
      uint32_t c = n;
      for (int k = 0; k < 8; k++) c = (c & 1) ? 0xEDB88320u ^ (c >> 1) : c >> 1;
      crc_table[n] = c;
    }
  }
  uint32_t crc = 0xFFFFFFFFu;
  for (size_t i = 0; i < len; i++) crc = crc_table[(crc ^ data[i]) & 0xFF] ^ (crc >> 8);
  return crc ^ 0xFFFFFFFFu;
}

/* --- reading fields: a short frame sets `bad`, and every later read yields zeros --- */

static const uint8_t *take(reader *r, size_t n) {
  if (r->bad || (size_t)(r->end - r->at) < n) {
    r->bad = true;
    return NULL;
  }
  const uint8_t *p = r->at;
  r->at += n;
  return p;
}

uint8_t get_u8(reader *r) {
  const uint8_t *p = take(r, 1);
  return p ? *p : 0;
}

uint32_t get_u32(reader *r) {
  const uint8_t *p = take(r, 4);
  return p ? (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24 : 0;
}

uint64_t get_u64(reader *r) {
  uint64_t low = get_u32(r);
  return low | (uint64_t)get_u32(r) << 32;
}

const uint8_t *get_bytes(reader *r, size_t *len) {
  *len = get_u32(r);
  const uint8_t *p = take(r, *len);
  if (!p) *len = 0;
  return p;
}

bool get_string(reader *r, char *into, size_t cap) {
  size_t len;
  const uint8_t *p = get_bytes(r, &len);
  if (!p || len >= cap || memchr(p, 0, len)) {
    r->bad = true;
    into[0] = 0;
    return false;
  }
  memcpy(into, p, len);
  into[len] = 0;
  return true;
}

/* --- writing fields: callers stay far below MAX_PAYLOAD; a field that does not fit is left out whole --- */

static void put(writer *w, const void *data, size_t len) {
  if (len > sizeof w->buf - w->len) return;
  memcpy(w->buf + w->len, data, len);
  w->len += len;
}

void put_u8(writer *w, uint8_t v) { put(w, &v, 1); }

void put_u32(writer *w, uint32_t v) {
  uint8_t b[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
  put(w, b, 4);
}

void put_u64(writer *w, uint64_t v) {
  put_u32(w, (uint32_t)v);
  put_u32(w, (uint32_t)(v >> 32));
}

void put_bytes(writer *w, const void *data, size_t len) {
  put_u32(w, (uint32_t)len);
  put(w, data, len);
}

void frame_begin(writer *w, uint8_t type, uint32_t with_epoch, uint32_t id) {
  w->len = 0;
  put_u8(w, type);
  put_u32(w, with_epoch);
  put_u32(w, id);
}

/* --- the queue to stdout. Linear buffer; moved to its front when the end is reached --- */

static uint8_t out_buf[OUT_QUEUE];
static size_t out_from, out_to;

static size_t sent;

size_t out_pending(void) { return out_to - out_from; }
size_t frames_sent(void) { return sent; }

static void stuff(uint8_t b) {
  if (b == 0x7E || b == 0x7D) {
    out_buf[out_to++] = 0x7D;
    b ^= 0x20;
  }
  out_buf[out_to++] = b;
}

void frame_send(const writer *w) {
  size_t worst = 2 * (w->len + 4) + 1;
  if (OUT_QUEUE - out_to < worst && out_from > 0) {
    memmove(out_buf, out_buf + out_from, out_to - out_from);
    out_to -= out_from;
    out_from = 0;
  }
  /* Cannot happen while main.c stops reading requests at OUT_STOP_MARK; a lost answer beats a torn stream. */
  if (OUT_QUEUE - out_to < worst) return;
  uint32_t crc = crc32_of(w->buf, w->len);
  for (size_t i = 0; i < w->len; i++) stuff(w->buf[i]);
  for (int i = 0; i < 4; i++) stuff((uint8_t)(crc >> (8 * i)));
  out_buf[out_to++] = 0x7E;
  sent++;
}

void out_flush(void) {
  while (out_from < out_to) {
    ssize_t n = write(STDOUT_FILENO, out_buf + out_from, out_to - out_from);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return; /* EAGAIN: poll tells when; anything else: the engine is gone, stdin will say so */
    out_from += (size_t)n;
  }
  out_from = out_to = 0;
}

/* --- incoming bytes to frames --- */

static uint8_t in_buf[MAX_PAYLOAD + 4];
static size_t in_len;
static bool in_escape, in_overlong;

void frames_feed(const uint8_t *data, size_t len, frame_handler handle, void (*damaged)(void)) {
  for (size_t i = 0; i < len; i++) {
    uint8_t b = data[i];
    if (b == 0x7E) {
      bool torn = in_escape || in_overlong;
      size_t n = in_len;
      in_len = 0;
      in_escape = in_overlong = false;
      if (n == 0 && !torn) continue; /* a delimiter that only clears the line */
      if (torn || n < 4 + 9) {
        damaged();
        continue;
      }
      reader tail = {in_buf + n - 4, in_buf + n, false};
      if (get_u32(&tail) != crc32_of(in_buf, n - 4)) damaged();
      else handle(in_buf, n - 4);
      continue;
    }
    if (b == 0x7D && !in_escape) {
      in_escape = true;
      continue;
    }
    if (in_escape) {
      b ^= 0x20;
      in_escape = false;
    }
    if (in_len == sizeof in_buf) in_overlong = true;
    else in_buf[in_len++] = b;
  }
}
