/*
 * hand-agent: the one resident process inside a hand.
 *
 * It is PID 1 of the container, speaks a framed protocol with a sandbox-manager over stdin/stdout (see wire.c),
 * and is the only keeper of what ran in the hand. Rules every file here keeps:
 *
 *   A1  An operation id spawns at most once. The ledger entry is on disk before the spawn (ledger.c).
 *   A2  Output belongs to the operation's spool, never to the reader. A reader that is slow or gone
 *       neither blocks a command nor kills it with SIGPIPE (ops.c).
 *   A3  Only the manager with the highest epoch is obeyed. Lower epochs are answered FENCED (main.c).
 *   A4  Whatever touches the workspace runs as the tool user, in a process of its own; the agent itself
 *       opens no path that a tool may have placed (spawn.c, files.c).
 *   A5  Every buffer, table and wait has a bound. One thread, one poll loop, no blocking call in it.
 *
 * The same binary is, outside of hands that have no engine, their keeper (keeper.c).
 *
 * C11, libc only, linked statically, so that it runs in any image (busybox, Debian minimal, scratch with a shell).
 */
#ifndef HAND_AGENT_H
#define HAND_AGENT_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PROTOCOL_VERSION 1

/* Bounds (A5). Sizes in bytes unless the name says otherwise. */
#define MAX_PAYLOAD 65536            /* one frame before stuffing */
#define DATA_CHUNK 32768             /* payload bytes of one OUTPUT or CONN_DATA frame */
#define OUT_QUEUE (512 * 1024)       /* stuffed bytes waiting for stdout */
#define OUT_BULK_MARK (OUT_QUEUE / 4) /* bulk data is queued only below this; the rest is for answers */
#define OUT_STOP_MARK (OUT_QUEUE / 2) /* above this no more requests are read */
#define MAX_OPERATIONS 65536         /* ledger entries of one hand */
#define MAX_RUNNING 64               /* operations at once */
#define MAX_ATTACHMENTS 256
#define MAX_CONNECTIONS 64
#define CONN_WINDOW (256 * 1024)     /* tunnel bytes in flight, each way, each connection */
#define MAX_BODIES 64
#define MAX_BODY (32 * 1024 * 1024)
#define SPOOL_HEAD (4 * 1024 * 1024) /* first bytes kept of an operation's output */
#define SPOOL_TAIL (4 * 1024 * 1024) /* last bytes kept, a ring in the same file */
#define SPOOL_TOTAL (64LL * 1024 * 1024) /* all spools together; the oldest finished ones go first */
#define MAX_ID 128
#define TERM_GRACE_MS 300            /* SIGTERM, then this long, then SIGKILL */

/* Frame types. Below 128: manager to agent. */
enum {
  F_HELLO = 1, F_BODY = 2, F_START = 3, F_ATTACH = 4, F_CREDIT = 5, F_DETACH = 6, F_CANCEL = 7, F_STATE = 8, F_LIST = 9,
  F_PING = 10, F_CONN_DATA = 11, F_CONN_EOF = 12, F_CONN_CLOSE = 13, F_CONN_CREDIT = 14,
  F_WELCOME = 129, F_REFUSED = 130, F_STARTED = 131, F_OUTPUT = 132, F_EXIT = 133, F_STATE_IS = 134, F_LISTED = 135,
  F_PONG = 136, F_OPENED = 137, F_DATA = 138, F_EOF = 139, F_CLOSED = 140, F_GRANTED = 141, F_DAMAGED = 142
};

/* Why a request was refused; the numbers are part of the protocol. */
enum { R_FENCED = 1, R_BAD = 2, R_CONFLICT = 3, R_BUSY = 4, R_NOT_STARTED = 5, R_STORAGE = 6, R_SPAWN = 7 };

/* What an operation does. */
enum { K_SHELL = 1, K_EXEC = 2, K_RESTART = 3, K_READ = 4, K_WRITE = 5, K_TREE = 6,
       K_MANIFEST = 7, K_BUNDLE = 8, K_PLACE = 9 };

/* What K_PLACE does with a piece: more will follow, the file is whole, take the file away; or make a folder for tools. */
enum { PLACE_MORE = 0, PLACE_LAST = 1, PLACE_REMOVE = 2, PLACE_FOLDER = 3 };

/* Where an operation is. P_UNKNOWN: a STARTED entry found by an agent that did not see its end. */
enum { P_QUEUED = 1, P_RUNNING = 2, P_EXITED = 3, P_UNKNOWN = 4 };

/* Who ended it. */
enum { BY_ITSELF = 0, BY_TIMEOUT = 1, BY_CANCEL = 2, BY_OOM = 3 };

typedef struct operation {
  struct operation *next;         /* hash chain */
  struct operation *newer;        /* ledger order, oldest first */
  char id[MAX_ID + 1];
  uint8_t hash[32];               /* of the input: the same id with another hash is a conflict */
  uint32_t number;                /* names the journal files */
  uint8_t kind, phase, killed_by;
  bool is_volatile;               /* a look, not an act: no journal, forgotten after its answer */
  bool shell_lost;                /* the persistent shell ended with this operation */
  bool evicted;                   /* its spool was given up for newer ones */
  int32_t code, signal;           /* exit code, or -1 and the signal */
  uint64_t bytes;                 /* output produced so far = logical end offset */
  uint64_t missing;               /* output that found no room on the spool */
  int64_t started_ms, ended_ms;   /* wall clock */
  int spool;                      /* -1 when none */
  uint64_t spool_bytes;           /* bytes this spool holds on disk */
  /* only while running */
  pid_t pid;                      /* leader of its own session; the shell's pid for K_SHELL */
  int out;                        /* read end of its output pipe, -1 for K_SHELL (the shell's pipe) */
  int64_t timeout_ms, deadline;   /* monotonic; 0 = none */
  int64_t kill_at;                /* monotonic; SIGKILL due when > 0 */
  uint64_t born_ticks;            /* kernel start time of the oldest process that can belong to it */
  int64_t oom_before;             /* cgroup's OOM count when it started */
  char *script;                   /* K_SHELL waiting for its turn: path of the script file */
} operation;

/* --- wire.c: framing, checksums, field codecs --- */
typedef struct { const uint8_t *at, *end; bool bad; } reader;
typedef struct { uint8_t buf[MAX_PAYLOAD]; size_t len; } writer;
typedef void (*frame_handler)(const uint8_t *payload, size_t len);
uint8_t get_u8(reader *r);
uint32_t get_u32(reader *r);
uint64_t get_u64(reader *r);
/* Length-prefixed bytes; NULL and r->bad when the frame is too short. */
const uint8_t *get_bytes(reader *r, size_t *len);
/* A string without NUL inside, copied into a buffer of `cap`; false when it does not fit. */
bool get_string(reader *r, char *into, size_t cap);
void put_u8(writer *w, uint8_t v);
void put_u32(writer *w, uint32_t v);
void put_u64(writer *w, uint64_t v);
void put_bytes(writer *w, const void *data, size_t len);
void frame_begin(writer *w, uint8_t type, uint32_t epoch, uint32_t id);
void frame_send(const writer *w);       /* queue for stdout */
void frames_feed(const uint8_t *data, size_t len, frame_handler handle, void (*damaged)(void));
size_t out_pending(void);
size_t frames_sent(void);               /* a count that only grows */
void out_flush(void);                   /* write what stdout takes now */

/* --- ledger.c: operations by id, journal files, spools --- */
bool ledger_open(int dir);              /* takes the directory's file over */
operation *ledger_find(const char *id);
operation *ledger_add(const char *id, const uint8_t hash[32], uint8_t kind, bool is_volatile); /* NULL: full or disk */
bool ledger_started(operation *op);     /* durable before the spawn (A1) */
void ledger_ended(operation *op);
void ledger_forget(operation *op);      /* a look that was answered, or an act that provably never began */
operation *ledger_oldest(void);
bool spool_write(operation *op, const uint8_t *data, size_t len);
size_t spool_read(operation *op, uint64_t *offset, uint8_t *into, size_t cap); /* moves *offset over a gap */
void spool_close(operation *op);         /* no reader for now */
int body_file(void);                    /* an unlinked file in the journal for an incoming body */
extern char run_dir[];                  /* scripts for the shell: root writes, the tool user reads */

/* --- spawn.c: processes of the tool user --- */
typedef struct {
  uid_t uid;
  gid_t gid;
  unsigned processes;  /* rlimit of this user; 0: none */
  uint64_t data_bytes; /* rlimit of each process's memory; 0: none */
  const char *workspace, *home;
} identity;
extern identity tool_user;
/* In a forked child: fds, limits, session, privileges. Never returns an error quietly: exits 126. */
void become_tool(int in, int out, int keep1, int keep2);
void become_child(int in, int out, int keep1, int keep2); /* likewise, but stays who the agent is */
uint64_t clock_ticks_now(void);
int kill_tree(pid_t session, uint64_t born_ticks, int sig); /* processes signalled */
int64_t oom_count(void);
bool is_own_child(pid_t pid);           /* a leader the agent started itself */

/* --- shell.c: the persistent shell --- */
bool shell_submit(operation *op, int body); /* takes its turn after the ones before it */
void shell_restart(void);
void shell_ended(pid_t pid, int status);
pid_t shell_pid(void);
const char *shell_path(void);
operation *shell_current(void);
void shell_unqueue(operation *op);
int shell_polls(struct pollfd *into);   /* fds 0..n-1 */
void shell_events(const struct pollfd *from, int n);
void shell_next(void);

/* --- filter.c: the system calls of this process and all it starts, for hands whose engine does not filter --- */
bool filter_install(void);

/* --- keeper.c: `hand-agent keep …`, outside of the hand --- */
int keep(int argc, char **argv);

/* --- files.c: run in a child of the tool user; return the exit code (an errno) --- */
int child_read(const char *path, uint64_t offset, uint64_t max);
int child_write(const char *path, int body, uint32_t mode);
int child_tree(const char *path, uint32_t max_entries);

/* --- place.c: run in a child that is who the agent is; returns the exit code (an errno) --- */
int child_place(const char *path, uint64_t offset, int body, uint32_t how);

/* --- manifest.c: as the tool user; lists end with NULL --- */
int child_manifest(char *const *roots, uint32_t max_entries);
int child_bundle(char *const *paths);

/* --- ops.c: running operations and who listens to them --- */
extern uint32_t epoch;
int64_t now_ms(void);
int64_t wall_ms(void);
void op_output(operation *op, const uint8_t *data, size_t len);
void op_finish(operation *op, int32_t code, int32_t sig);
void op_kill(operation *op, uint8_t why);
void handle_start(uint32_t id, reader *r, int body);
void handle_attach(uint32_t id, reader *r);
void handle_credit(uint32_t id, reader *r);
void handle_detach(uint32_t id);
void handle_cancel(uint32_t id, reader *r);
void handle_state(uint32_t id, reader *r);
void handle_list(uint32_t id);
void attachments_clear(void);
bool attachments_pump(void);
void ops_reaped(pid_t pid, int status);
int ops_polls(struct pollfd *into, operation **who);
void ops_readable(operation *op);
void ops_timers(void);
int64_t ops_next_deadline(void);        /* monotonic ms, 0 = none */
void refuse(uint32_t with_epoch, uint32_t id, uint8_t why, const char *text);

/* --- tunnel.c: the hand's only way out: one loopback port, multiplexed to the manager --- */
bool tunnel_listen(uint16_t port);
void tunnel_data(uint32_t id, reader *r);
void tunnel_eof(uint32_t id);
void tunnel_close(uint32_t id);
void tunnel_credit(uint32_t id, reader *r);
void tunnel_clear(void);
int tunnel_polls(struct pollfd *into);
void tunnel_events(const struct pollfd *from, int n);

#endif
