/*
 * Operations: accepted, spawned, spooled, ended, and shown to whoever is attached.
 *
 * There is one way for output: pipe -> spool -> attachment. An attachment is a place in the spool and a number of
 * bytes its reader is ready for. Nothing else remembers output, so attaching a second time, from any offset, by any
 * manager, shows the same bytes (A2).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "agent.h"

#define MAX_ARGS 256

extern char **tool_environment;

typedef struct {
  bool used;
  uint32_t id; /* the request that made it names it */
  operation *op;
  uint64_t next, credit;
} attachment;

static attachment attachments[MAX_ATTACHMENTS];
static operation *running[MAX_RUNNING];
static int running_count;

void refuse(uint32_t with_epoch, uint32_t id, uint8_t why, const char *text) {
  writer w;
  frame_begin(&w, F_REFUSED, with_epoch, id);
  put_u8(&w, why);
  put_u32(&w, epoch);
  put_bytes(&w, text, strlen(text));
  frame_send(&w);
}

/* --- state, as every answer shows it --- */

static uint64_t unreadable(const operation *op) {
  if (op->evicted) return op->bytes + op->missing;
  uint64_t kept = SPOOL_HEAD + SPOOL_TAIL;
  return op->missing + (op->bytes > kept ? op->bytes - kept : 0);
}

static void put_state(writer *w, const operation *op) {
  put_bytes(w, op->id, strlen(op->id));
  put_u8(w, op->kind);
  put_u8(w, op->phase);
  put_u8(w, op->killed_by);
  put_u8(w, op->shell_lost ? 1 : 0);
  put_u32(w, (uint32_t)op->code);
  put_u32(w, (uint32_t)op->signal);
  put_u64(w, op->bytes + op->missing);
  put_u64(w, unreadable(op));
  put_u64(w, (uint64_t)op->started_ms);
  put_u64(w, (uint64_t)op->ended_ms);
}

/* --- attachments --- */

static bool attach(uint32_t id, operation *op, uint64_t from, uint64_t window) {
  for (int i = 0; i < MAX_ATTACHMENTS; i++)
    if (attachments[i].used && attachments[i].id == id) return true; /* a request repeated after damage */
  for (int i = 0; i < MAX_ATTACHMENTS; i++)
    if (!attachments[i].used) {
      attachments[i] = (attachment){true, id, op, from, window};
      return true;
    }
  return false;
}

static bool is_running(const operation *op) {
  for (int i = 0; i < running_count; i++)
    if (running[i] == op) return true;
  return false;
}

/* Nobody looks any more: a spool is closed, a volatile operation ends or is forgotten. */
static void forget_if_unseen(operation *op) {
  for (int i = 0; i < MAX_ATTACHMENTS; i++)
    if (attachments[i].used && attachments[i].op == op) return;
  spool_close(op);
  if (!op->is_volatile) return;
  if (op->phase < P_EXITED) op_kill(op, BY_CANCEL);
  else if (!is_running(op)) ledger_forget(op);
}

static void detach(attachment *a) {
  operation *op = a->op;
  a->used = false;
  forget_if_unseen(op);
}

void attachments_clear(void) {
  for (int i = 0; i < MAX_ATTACHMENTS; i++)
    if (attachments[i].used) detach(&attachments[i]);
}

static void pump(attachment *a) {
  static uint8_t buf[DATA_CHUNK];
  while (a->credit > 0 && out_pending() < OUT_BULK_MARK) {
    size_t n = spool_read(a->op, &a->next, buf, a->credit < sizeof buf ? (size_t)a->credit : sizeof buf);
    if (n == 0) break;
    writer w;
    frame_begin(&w, F_OUTPUT, epoch, a->id);
    put_u64(&w, a->next);
    put_bytes(&w, buf, n);
    frame_send(&w);
    a->next += n;
    a->credit -= n;
  }
  if (a->op->phase >= P_EXITED && a->next >= a->op->bytes) {
    writer w;
    frame_begin(&w, F_EXIT, epoch, a->id);
    put_state(&w, a->op);
    frame_send(&w);
    detach(a);
  }
}

/* Tells whether anything was sent: then there may be more, for which no event will come. */
bool attachments_pump(void) {
  static int first; /* round robin: one flood must not starve the others */
  size_t before = frames_sent();
  for (int i = 0; i < MAX_ATTACHMENTS && out_pending() < OUT_BULK_MARK; i++) {
    attachment *a = &attachments[(first + i) % MAX_ATTACHMENTS];
    if (a->used) pump(a);
  }
  first = (first + 1) % MAX_ATTACHMENTS;
  return frames_sent() != before;
}

/* --- output and end --- */

void op_output(operation *op, const uint8_t *data, size_t len) {
  if (spool_write(op, data, len)) op->bytes += len;
  else op->missing += len; /* no room in the journal: the command goes on, the loss is told */
}

void op_finish(operation *op, int32_t code, int32_t sig) {
  op->code = code;
  op->signal = sig;
  bool perhaps_oom = sig == SIGKILL || code == 128 + SIGKILL;
  if (op->killed_by == BY_ITSELF && perhaps_oom && op->oom_before >= 0 && oom_count() > op->oom_before)
    op->killed_by = BY_OOM;
  if (op->out >= 0) close(op->out);
  op->out = -1;
  op->kill_at = op->deadline = 0;
  ledger_ended(op);
}

/* The leader is stopped first, so that a shell does not start the next line of a script we are ending. */
void op_kill(operation *op, uint8_t why) {
  if (op->phase == P_QUEUED) {
    shell_unqueue(op);
    op->killed_by = why;
    op_finish(op, -1, 0);
    return;
  }
  if (op->phase != P_RUNNING || op->kill_at != 0) return;
  op->killed_by = why;
  op->kill_at = now_ms() + TERM_GRACE_MS;
  if (op->kind == K_SHELL) kill(op->pid, SIGSTOP);
  kill_tree(op->pid, op->born_ticks, SIGTERM);
}

bool is_own_child(pid_t pid) {
  if (pid == shell_pid()) return true;
  for (int i = 0; i < running_count; i++)
    if (running[i]->pid == pid && running[i]->phase == P_RUNNING) return true;
  return false;
}

static void drain(operation *op) {
  static uint8_t buf[65536];
  int left = 0;
  if (op->out < 0 || ioctl(op->out, FIONREAD, &left) != 0) return;
  while (left > 0) {
    ssize_t n = read(op->out, buf, (size_t)left < sizeof buf ? (size_t)left : sizeof buf);
    if (n <= 0) return;
    op_output(op, buf, (size_t)n);
    left -= (int)n;
  }
}

void ops_reaped(pid_t pid, int how) {
  shell_ended(pid, how);
  for (int i = 0; i < running_count; i++) {
    operation *op = running[i];
    if (op->pid != pid || op->kind == K_SHELL || op->phase != P_RUNNING) continue;
    kill_tree(pid, op->killed_by == BY_ITSELF ? UINT64_MAX : op->born_ticks, SIGKILL);
    drain(op);
    if (WIFSIGNALED(how)) op_finish(op, -1, WTERMSIG(how));
    else op_finish(op, WEXITSTATUS(how), 0);
    return;
  }
}

int ops_polls(struct pollfd *into, operation **who) {
  int n = 0;
  for (int i = 0; i < running_count; i++)
    if (running[i]->out >= 0) {
      who[n] = running[i];
      into[n++] = (struct pollfd){running[i]->out, POLLIN, 0};
    }
  return n;
}

void ops_readable(operation *op) {
  int left = 0;
  if (op->out < 0) return;
  if (ioctl(op->out, FIONREAD, &left) == 0 && left > 0) {
    drain(op);
  } else { /* every writer is gone; the exit itself comes by SIGCHLD */
    close(op->out);
    op->out = -1;
  }
}

void ops_timers(void) {
  int64_t now = now_ms();
  for (int i = 0; i < running_count; i++) {
    operation *op = running[i];
    if (op->phase >= P_EXITED) continue;
    if (op->kill_at > 0 && now >= op->kill_at) {
      kill_tree(op->pid, op->born_ticks, SIGKILL);
      op->kill_at = now + TERM_GRACE_MS;
    } else if (op->kill_at == 0 && op->deadline > 0 && now >= op->deadline) {
      op_kill(op, BY_TIMEOUT);
    }
  }
  for (int i = 0; i < running_count;) {
    operation *op = running[i];
    if (op->phase < P_EXITED) {
      i++;
      continue;
    }
    running[i] = running[--running_count];
    forget_if_unseen(op);
  }
}

int64_t ops_next_deadline(void) {
  int64_t next = 0;
  for (int i = 0; i < running_count; i++) {
    int64_t t = running[i]->kill_at > 0 ? running[i]->kill_at : running[i]->deadline;
    if (t > 0 && (next == 0 || t < next)) next = t;
  }
  return next;
}

/* --- requests --- */

typedef struct {
  uint8_t kind, is_volatile;
  uint32_t window;
  char id[MAX_ID + 1];
  const uint8_t *hash;
  uint64_t timeout_ms, offset, max;
  char path[4096], cwd[4096];
  char *argv[MAX_ARGS + 1], *env[MAX_ARGS + 1];
  char text[MAX_PAYLOAD]; /* argv and env strings live here */
  const uint8_t *inline_body;
  size_t inline_len;
} start_request;

static size_t parse_strings(reader *r, char **into, char *text, size_t cap) {
  uint32_t n = get_u32(r);
  size_t used = 0;
  if (n > MAX_ARGS) r->bad = true;
  for (uint32_t i = 0; i < n && !r->bad; i++) {
    into[i] = text + used;
    if (get_string(r, text + used, cap - used)) used += strlen(text + used) + 1;
  }
  into[r->bad ? 0 : n] = NULL;
  return used;
}

static bool parse_start(reader *r, start_request *q) {
  size_t len;
  q->kind = get_u8(r);
  q->is_volatile = get_u8(r);
  q->window = get_u32(r);
  get_string(r, q->id, sizeof q->id);
  q->hash = get_bytes(r, &len);
  if (len != 32 || q->id[0] == 0) r->bad = true;
  for (const char *c = q->id; *c; c++)
    if (*c <= ' ' || *c > '~') r->bad = true; /* ids are words: they are read back from the journal as such */
  q->timeout_ms = get_u64(r);
  q->offset = get_u64(r);
  q->max = get_u64(r);
  get_string(r, q->path, sizeof q->path);
  get_string(r, q->cwd, sizeof q->cwd);
  size_t used = parse_strings(r, q->argv, q->text, sizeof q->text);
  parse_strings(r, q->env, q->text + used, sizeof q->text - used);
  q->inline_body = get_bytes(r, &q->inline_len);
  if (q->kind < K_SHELL || q->kind > K_PLACE || (q->kind == K_EXEC && !q->argv[0])) r->bad = true;
  bool has_path = (q->kind >= K_READ && q->kind <= K_TREE) || q->kind == K_PLACE;
  if (has_path && q->path[0] != '/') r->bad = true;
  return !r->bad;
}

static int in_child(const start_request *q) {
  if (q->kind == K_READ) return child_read(q->path, q->offset, q->max);
  if (q->kind == K_WRITE) return child_write(q->path, 0, (uint32_t)q->max);
  if (q->kind == K_PLACE) return child_place(q->path, q->offset, 0, (uint32_t)q->max);
  if (q->kind == K_TREE) return child_tree(q->path, (uint32_t)q->max);
  if (q->kind == K_MANIFEST) return child_manifest(q->argv, (uint32_t)q->max);
  if (q->kind == K_BUNDLE) return child_bundle(q->argv);
  if (chdir(q->cwd[0] ? q->cwd : tool_user.workspace) != 0) {
    dprintf(2, "cannot enter %s: %s\n", q->cwd, strerror(errno));
    return 126;
  }
  environ = tool_environment;
  for (int i = 0; q->env[i]; i++) putenv(q->env[i]);
  execvp(q->argv[0], q->argv);
  dprintf(2, "cannot run %s: %s\n", q->argv[0], strerror(errno));
  return errno == ENOENT ? 127 : 126;
}

static bool spawn(operation *op, const start_request *q, int body) {
  int out[2];
  if (pipe2(out, O_CLOEXEC) != 0) return false;
  op->born_ticks = clock_ticks_now();
  op->oom_before = oom_count();
  pid_t pid = fork();
  if (pid == 0) {
    int in = body >= 0 ? body : open("/dev/null", O_RDONLY);
    if (q->kind == K_PLACE) become_child(in, out[1], -1, -1);
    else become_tool(in, out[1], -1, -1);
    _exit(in_child(q));
  }
  close(out[1]);
  if (pid < 0) {
    close(out[0]);
    return false;
  }
  fcntl(out[0], F_SETFL, O_NONBLOCK);
  op->pid = pid;
  op->out = out[0];
  op->phase = P_RUNNING;
  op->deadline = op->timeout_ms > 0 ? now_ms() + op->timeout_ms : 0;
  return true;
}

static void answer_started(uint32_t id, operation *op, bool existing, uint32_t window) {
  writer w;
  frame_begin(&w, F_STARTED, epoch, id);
  put_u8(&w, existing);
  put_state(&w, op);
  frame_send(&w);
  if (window > 0 && !attach(id, op, 0, window)) refuse(epoch, id, R_BUSY, "too many attachments");
}

static bool needs_body(const start_request *q) {
  return q->kind == K_SHELL || q->kind == K_WRITE || q->kind == K_PLACE;
}

/* A request's bytes as a file: the body sent ahead, or the inline ones. -1 when there are none or no room. */
static int body_of(const start_request *q, int body) {
  if (body >= 0 || (!needs_body(q) && q->inline_len == 0)) return body;
  int fd = body_file();
  if (fd >= 0 && write(fd, q->inline_body, q->inline_len) != (ssize_t)q->inline_len) {
    close(fd);
    return -1;
  }
  if (fd >= 0) lseek(fd, 0, SEEK_SET);
  return fd;
}

void handle_start(uint32_t id, reader *r, int body) {
  static start_request q;
  if (!parse_start(r, &q)) {
    refuse(epoch, id, R_BAD, "START: a field is missing, too long or out of range");
    return;
  }
  operation *op = ledger_find(q.id);
  if (op) {
    if (memcmp(op->hash, q.hash, 32) != 0) refuse(epoch, id, R_CONFLICT, "this operation id was used with another input");
    else answer_started(id, op, true, q.window);
    return;
  }
  if (running_count == MAX_RUNNING) {
    refuse(epoch, id, R_BUSY, "too many operations at once in this hand");
    return;
  }
  int input = body_of(&q, body);
  op = needs_body(&q) && input < 0 ? NULL : ledger_add(q.id, q.hash, q.kind, q.is_volatile);
  if (!op || !ledger_started(op)) {
    if (op) ledger_forget(op);
    refuse(epoch, id, R_STORAGE, "no room in the hand's journal; nothing was started");
  } else {
    op->timeout_ms = (int64_t)q.timeout_ms;
    bool in_shell = q.kind == K_SHELL || q.kind == K_RESTART;
    if (in_shell ? shell_submit(op, input) : spawn(op, &q, input)) {
      running[running_count++] = op;
      answer_started(id, op, false, q.window);
    } else {
      ledger_forget(op); /* proved never to have run: the same id may try again */
      refuse(epoch, id, R_SPAWN, "no process could be started (process or memory limit); nothing ran");
    }
  }
  if (input >= 0 && input != body) close(input);
}

static operation *named(uint32_t id, reader *r) {
  char name[MAX_ID + 1];
  operation *op = get_string(r, name, sizeof name) ? ledger_find(name) : NULL;
  if (!op) refuse(epoch, id, R_NOT_STARTED, "no such operation was ever started in this hand");
  return op;
}

void handle_attach(uint32_t id, reader *r) {
  uint64_t from = get_u64(r);
  uint32_t window = get_u32(r);
  operation *op = named(id, r);
  if (op && !attach(id, op, from, window)) refuse(epoch, id, R_BUSY, "too many attachments");
}

void handle_credit(uint32_t id, reader *r) {
  uint32_t more = get_u32(r);
  for (int i = 0; i < MAX_ATTACHMENTS; i++)
    if (attachments[i].used && attachments[i].id == id) attachments[i].credit += more;
}

void handle_detach(uint32_t id) {
  for (int i = 0; i < MAX_ATTACHMENTS; i++)
    if (attachments[i].used && attachments[i].id == id) detach(&attachments[i]);
}

void handle_cancel(uint32_t id, reader *r) {
  operation *op = named(id, r);
  if (!op) return;
  op_kill(op, BY_CANCEL);
  writer w;
  frame_begin(&w, F_STATE_IS, epoch, id);
  put_state(&w, op);
  frame_send(&w);
}

void handle_state(uint32_t id, reader *r) {
  operation *op = named(id, r);
  if (!op) return;
  writer w;
  frame_begin(&w, F_STATE_IS, epoch, id);
  put_state(&w, op);
  frame_send(&w);
}

void handle_list(uint32_t id) {
  writer w;
  frame_begin(&w, F_LISTED, epoch, id);
  put_u32(&w, (uint32_t)running_count);
  for (int i = 0; i < running_count; i++) put_state(&w, running[i]);
  frame_send(&w);
}
