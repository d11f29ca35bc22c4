/*
 * The ledger: every operation this hand was ever asked for, by id.
 *
 * Journal directory (root only): <number>.op is a few lines of text, <number>.out the spool of its output.
 *
 *   op <id> / hash <hex> / kind <k> / started <wall ms>            written and synced before the spawn
 *   ended <wall ms> code <c> signal <s> by <b> bytes <n> missing <m>   appended after the end
 *
 * An agent that finds an entry without an `ended` line did not see how it ended: P_UNKNOWN, never run again.
 *
 * Spool: the first SPOOL_HEAD bytes in place, everything later in a ring of SPOOL_TAIL bytes behind them, so the head
 * and the tail of any flood survive in 8 MiB. Offsets are logical: byte n of the output is always byte n.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "agent.h"

#define BUCKETS 1024

char run_dir[256];
static int journal = -1;
static operation *buckets[BUCKETS], *oldest, *newest;
static uint32_t count, next_number = 1;
static int64_t spooled;

static unsigned bucket_of(const char *id) {
  uint32_t h = 2166136261u;
  for (; *id; id++) h = (h ^ (uint8_t)*id) * 16777619u;
  return h % BUCKETS;
}

operation *ledger_find(const char *id) {
  for (operation *op = buckets[bucket_of(id)]; op; op = op->next)
    if (strcmp(op->id, id) == 0) return op;
  return NULL;
}

/* Thousands of operations, few open files: a finished one's spool is opened again when somebody looks. */
void spool_close(operation *op) {
  if (op->spool < 0 || op->phase < P_EXITED) return;
  close(op->spool);
  op->spool = -1;
}

operation *ledger_oldest(void) { return oldest; }

static void file_name(char into[32], const operation *op, const char *suffix) {
  snprintf(into, 32, "%u.%s", op->number, suffix);
}

operation *ledger_add(const char *id, const uint8_t hash[32], uint8_t kind, bool is_volatile) {
  if (count >= MAX_OPERATIONS) return NULL;
  operation *op = calloc(1, sizeof *op);
  if (!op) return NULL;
  snprintf(op->id, sizeof op->id, "%s", id);
  memcpy(op->hash, hash, 32);
  op->number = next_number++;
  op->kind = kind;
  op->phase = P_QUEUED;
  op->is_volatile = is_volatile;
  op->spool = op->out = -1;
  op->code = -1;
  unsigned b = bucket_of(id);
  op->next = buckets[b];
  buckets[b] = op;
  if (newest) newest->newer = op;
  else oldest = op;
  newest = op;
  count++;
  return op;
}

bool ledger_started(operation *op) {
  op->started_ms = wall_ms();
  if (op->is_volatile) return true;
  char name[32], text[512], hex[65];
  for (int i = 0; i < 32; i++) snprintf(hex + 2 * i, 3, "%02x", op->hash[i]);
  int n = snprintf(text, sizeof text, "op %s\nhash %s\nkind %u\nstarted %lld\n", op->id, hex, op->kind,
                   (long long)op->started_ms);
  file_name(name, op, "op");
  int fd = openat(journal, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  bool ok = write(fd, text, (size_t)n) == n && fdatasync(fd) == 0;
  close(fd);
  return ok;
}

void ledger_ended(operation *op) {
  op->ended_ms = wall_ms();
  op->phase = P_EXITED;
  if (op->is_volatile) return;
  char name[32], text[256];
  file_name(name, op, "op");
  int n = snprintf(text, sizeof text, "ended %lld code %d signal %d by %u bytes %llu missing %llu\n",
                   (long long)op->ended_ms, op->code, op->signal, op->killed_by, (unsigned long long)op->bytes,
                   (unsigned long long)op->missing);
  int fd = openat(journal, name, O_WRONLY | O_APPEND | O_CLOEXEC);
  if (fd < 0) return; /* memory still knows; only a restarted agent would say UNKNOWN, which is the safe side */
  if (write(fd, text, (size_t)n) == n) fdatasync(fd);
  close(fd);
}

static void drop_spool(operation *op) {
  if (op->spool_bytes == 0 && op->spool < 0) return;
  char name[32];
  file_name(name, op, "out");
  if (op->spool >= 0) close(op->spool);
  unlinkat(journal, name, 0);
  spooled -= (int64_t)op->spool_bytes;
  op->spool = -1;
  op->spool_bytes = 0;
}

void ledger_forget(operation *op) {
  drop_spool(op);
  if (!op->is_volatile) {
    char name[32];
    file_name(name, op, "op");
    unlinkat(journal, name, 0);
  }
  for (operation **p = &buckets[bucket_of(op->id)]; *p; p = &(*p)->next)
    if (*p == op) {
      *p = op->next;
      break;
    }
  operation *before = NULL;
  for (operation *o = oldest; o && o != op; o = o->newer) before = o;
  if (before) before->newer = op->newer;
  else oldest = op->newer;
  if (newest == op) newest = before;
  count--;
  free(op->script);
  free(op);
}

/* Give up the spools of the oldest finished operations until the budget holds again; their outcome stays. */
static void keep_budget(const operation *writing) {
  for (operation *op = oldest; op && spooled > SPOOL_TOTAL; op = op->newer)
    if (op->phase >= P_EXITED && op->spool_bytes > 0 && op != writing) {
      drop_spool(op);
      op->evicted = true;
    }
}

bool spool_write(operation *op, const uint8_t *data, size_t len) {
  if (op->spool < 0) {
    char name[32];
    file_name(name, op, "out");
    op->spool = openat(journal, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (op->spool < 0) return false;
  }
  uint64_t logical = op->bytes;
  while (len > 0) {
    uint64_t place = logical;
    size_t part = len;
    if (logical >= SPOOL_HEAD) {
      uint64_t ring = (logical - SPOOL_HEAD) % SPOOL_TAIL;
      place = SPOOL_HEAD + ring;
      if (part > SPOOL_TAIL - ring) part = (size_t)(SPOOL_TAIL - ring);
    } else if (part > SPOOL_HEAD - logical) {
      part = (size_t)(SPOOL_HEAD - logical);
    }
    if (pwrite(op->spool, data, part, (off_t)place) != (ssize_t)part) return false;
    if (place + part > op->spool_bytes) {
      spooled += (int64_t)(place + part - op->spool_bytes);
      op->spool_bytes = place + part;
    }
    data += part;
    len -= part;
    logical += part;
  }
  if (spooled > SPOOL_TOTAL) keep_budget(op);
  return true;
}

size_t spool_read(operation *op, uint64_t *offset, uint8_t *into, size_t cap) {
  if (op->spool < 0 && op->spool_bytes > 0) {
    char name[32];
    file_name(name, op, "out");
    op->spool = openat(journal, name, O_RDWR | O_CLOEXEC);
  }
  if (op->spool < 0) {
    *offset = op->bytes;
    return 0;
  }
  uint64_t tail = op->bytes > SPOOL_HEAD + SPOOL_TAIL ? op->bytes - SPOOL_TAIL : SPOOL_HEAD;
  uint64_t at = *offset;
  if (at >= SPOOL_HEAD && at < tail) at = tail;
  *offset = at;
  if (at >= op->bytes) return 0;
  uint64_t left = op->bytes - at, place = at;
  if (at >= SPOOL_HEAD) {
    uint64_t ring = (at - SPOOL_HEAD) % SPOOL_TAIL;
    place = SPOOL_HEAD + ring;
    if (left > SPOOL_TAIL - ring) left = SPOOL_TAIL - ring;
  } else if (left > SPOOL_HEAD - at) {
    left = SPOOL_HEAD - at;
  }
  if (left < cap) cap = (size_t)left;
  ssize_t n = pread(op->spool, into, cap, (off_t)place);
  return n > 0 ? (size_t)n : 0;
}

int body_file(void) {
  static uint32_t serial;
  char name[32];
  snprintf(name, sizeof name, "body.%u", serial++);
  int fd = openat(journal, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd >= 0) unlinkat(journal, name, 0);
  return fd;
}

/* One entry of an earlier agent in the same journal. What cannot be read is left alone. */
static void load_entry(const char *name) {
  char text[1024], id[MAX_ID + 1], hex[65];
  unsigned number, kind, by;
  long long started, ended;
  unsigned long long bytes, missing;
  int code, sig, fd = openat(journal, name, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0 || sscanf(name, "%u.op", &number) != 1) return;
  text[n] = 0;
  if (sscanf(text, "op %128s hash %64s kind %u started %lld", id, hex, &kind, &started) != 4) return;
  uint8_t hash[32];
  for (int i = 0; i < 32; i++) {
    unsigned byte;
    if (sscanf(hex + 2 * i, "%2x", &byte) != 1) return;
    hash[i] = (uint8_t)byte;
  }
  operation *op = ledger_add(id, hash, (uint8_t)kind, false);
  if (!op) return;
  op->number = number;
  if (number >= next_number) next_number = number + 1;
  op->started_ms = started;
  op->phase = P_UNKNOWN;
  char out[32];
  file_name(out, op, "out");
  op->spool = openat(journal, out, O_RDWR | O_CLOEXEC);
  struct stat st;
  if (op->spool >= 0 && fstat(op->spool, &st) == 0) {
    op->spool_bytes = op->bytes = (uint64_t)st.st_size;
    spooled += st.st_size;
    spool_close(op);
  }
  const char *end = strstr(text, "\nended ");
  if (end && sscanf(end, "\nended %lld code %d signal %d by %u bytes %llu missing %llu", &ended, &code, &sig, &by,
                    &bytes, &missing) == 6) {
    op->ended_ms = ended;
    op->code = code;
    op->signal = sig;
    op->killed_by = (uint8_t)by;
    op->bytes = bytes;
    op->missing = missing;
    op->phase = P_EXITED;
  }
}

bool ledger_open(int dir) {
  journal = dir;
  if (journal < 0 || fcntl(journal, F_SETFD, FD_CLOEXEC) != 0) return false;
  int again = openat(journal, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* closedir() closes what it was given */
  DIR *d = again < 0 ? NULL : fdopendir(again);
  if (!d) return false;
  for (struct dirent *e; (e = readdir(d));) {
    size_t n = strlen(e->d_name);
    if (n > 3 && strcmp(e->d_name + n - 3, ".op") == 0) load_entry(e->d_name);
  }
  closedir(d);
  return true;
}
