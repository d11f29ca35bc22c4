/*
 * The loop: read frames, obey the newest manager, reap children, keep time.
 *
 * hand-agent [--journal DIR | --journal-fd N] [--run DIR] [--workspace DIR] [--home DIR] [--uid N] [--gid N]
 *            [--port N] [--processes N] [--data-bytes N] [--own DIR]... [--filter yes] [--alone-ms N]
 *            [--env K=V]...
 *
 * --own gives a directory to the tool user, and the right to do so is then given up. --filter puts the agent itself
 * and all tools under the list of system calls (filter.c).
 *
 * Ends when stdin does (the engine dropped us), on SIGTERM, or when no manager has spoken to it for --alone-ms; as PID 1 its end is the end of everything in the hand.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <linux/capability.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "agent.h"

#define MAX_ENV 128
#define MAX_OWNED 8
#define MAX_POLLS (4 + 2 + MAX_RUNNING + MAX_CONNECTIONS + 1)

uint32_t epoch;                /* of the manager that is obeyed; 0 before the first HELLO */
static char manager[MAX_ID + 1]; /* its instance name: the same epoch from another instance is refused */
static char *environment[MAX_ENV + 8];
char **tool_environment = environment;
static int environment_count;

typedef struct { const char *journal; int journal_fd, port; bool filter; const char *own[MAX_OWNED]; int own_count; } options;

/* Bytes sent ahead of a START, by request id. */
static struct { uint32_t id; int fd; uint64_t len; } bodies[MAX_BODIES];

int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t wall_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void bodies_clear(void) {
  for (int i = 0; i < MAX_BODIES; i++)
    if (bodies[i].fd > 0) {
      close(bodies[i].fd);
      bodies[i].fd = 0;
    }
}

static void handle_body(uint32_t id, reader *r) {
  size_t len;
  const uint8_t *data = get_bytes(r, &len);
  int free_slot = -1, i;
  for (i = 0; i < MAX_BODIES && !(bodies[i].fd > 0 && bodies[i].id == id); i++)
    if (bodies[i].fd <= 0) free_slot = i;
  if (i == MAX_BODIES) {
    i = free_slot;
    int fd = i < 0 ? -1 : body_file();
    if (fd < 0) return; /* the START that follows finds no body and is refused */
    bodies[i].id = id, bodies[i].fd = fd, bodies[i].len = 0;
  }
  if (!data || bodies[i].len + len > MAX_BODY || write(bodies[i].fd, data, len) != (ssize_t)len) {
    close(bodies[i].fd);
    bodies[i].fd = 0;
    return;
  }
  bodies[i].len += len;
}

static int take_body(uint32_t id) {
  for (int i = 0; i < MAX_BODIES; i++)
    if (bodies[i].fd > 0 && bodies[i].id == id) {
      int fd = bodies[i].fd;
      bodies[i].fd = 0;
      lseek(fd, 0, SEEK_SET);
      return fd;
    }
  return -1;
}

/* A new manager, or the same one on a new stream: nothing of the old attachment is left. */
static void handle_hello(uint32_t with_epoch, uint32_t id, reader *r) {
  char name[MAX_ID + 1];
  uint32_t version = get_u32(r);
  if (!get_string(r, name, sizeof name) || version != PROTOCOL_VERSION) {
    refuse(with_epoch, id, R_BAD, "HELLO: this agent speaks protocol version 1");
    return;
  }
  if (with_epoch < epoch || (with_epoch == epoch && strcmp(name, manager) != 0)) {
    refuse(with_epoch, id, R_FENCED, "a newer manager has this hand");
    return;
  }
  epoch = with_epoch;
  memcpy(manager, name, sizeof manager);
  attachments_clear();
  bodies_clear();
  tunnel_clear();
  writer w;
  frame_begin(&w, F_WELCOME, epoch, id);
  put_u32(&w, PROTOCOL_VERSION);
  put_bytes(&w, shell_path(), strlen(shell_path()));
  put_bytes(&w, tool_user.workspace, strlen(tool_user.workspace));
  frame_send(&w);
}

static void handle(const uint8_t *payload, size_t len) {
  reader r = {payload, payload + len, false};
  uint8_t type = get_u8(&r);
  uint32_t with_epoch = get_u32(&r), id = get_u32(&r);
  if (type == F_HELLO) {
    handle_hello(with_epoch, id, &r);
    return;
  }
  if (with_epoch != epoch || epoch == 0) { /* A3 */
    refuse(with_epoch, id, R_FENCED, "a newer manager has this hand");
    return;
  }
  int body;
  writer w;
  switch (type) {
    case F_BODY: handle_body(id, &r); break;
    case F_START:
      body = take_body(id);
      handle_start(id, &r, body);
      if (body >= 0) close(body);
      break;
    case F_ATTACH: handle_attach(id, &r); break;
    case F_CREDIT: handle_credit(id, &r); break;
    case F_DETACH: handle_detach(id); break;
    case F_CANCEL: handle_cancel(id, &r); break;
    case F_STATE: handle_state(id, &r); break;
    case F_LIST: handle_list(id); break;
    case F_CONN_DATA: tunnel_data(id, &r); break;
    case F_CONN_EOF: tunnel_eof(id); break;
    case F_CONN_CLOSE: tunnel_close(id); break;
    case F_CONN_CREDIT: tunnel_credit(id, &r); break;
    case F_PING:
      frame_begin(&w, F_PONG, epoch, id);
      frame_send(&w);
      break;
    default: refuse(epoch, id, R_BAD, "unknown frame type");
  }
}

/* Said aloud, so that a manager whose request was torn by a dying one's last bytes repeats it at once. */
static void damaged(void) {
  writer w;
  frame_begin(&w, F_DAMAGED, epoch, 0);
  frame_send(&w);
}

static void reap(int signals) {
  struct signalfd_siginfo info;
  /* To the first process of a hand only somebody outside has no number: a tool of the same uid must not end it. */
  while (read(signals, &info, sizeof info) == sizeof info)
    if (info.ssi_signo == SIGTERM && (getpid() != 1 || info.ssi_pid == 0)) exit(0);
  int status;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) ops_reaped(pid, status);
}

static void add_environment(const char *pair) {
  if (environment_count < MAX_ENV) environment[environment_count++] = strdup(pair);
}

/*
 * A manager says something at least every few minutes. A hand that has heard nothing for hours is nobody's any more
 * (its platform was taken away): it ends, and with it everything in it. Time in which we stood still ourselves, because
 * the hand was paused, does not count.
 */
static int64_t alone_after_ms, last_heard_ms;
#define STOOD_STILL_MS 1000

static void end_if_alone(int64_t before_ms, int waited_ms) {
  int64_t now = now_ms();
  if (now - before_ms > waited_ms + STOOD_STILL_MS) last_heard_ms = now;
  if (alone_after_ms > 0 && now - last_heard_ms > alone_after_ms) exit(0);
}

static void read_arguments(int argc, char **argv, options *o) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const char *name = argv[i], *value = argv[i + 1];
    if (strcmp(name, "--journal") == 0) o->journal = value;
    else if (strcmp(name, "--journal-fd") == 0) o->journal_fd = atoi(value);
    else if (strcmp(name, "--run") == 0) snprintf(run_dir, 256, "%s", value);
    else if (strcmp(name, "--workspace") == 0) tool_user.workspace = value;
    else if (strcmp(name, "--home") == 0) tool_user.home = value;
    else if (strcmp(name, "--uid") == 0) tool_user.uid = (uid_t)atoi(value);
    else if (strcmp(name, "--gid") == 0) tool_user.gid = (gid_t)atoi(value);
    else if (strcmp(name, "--port") == 0) o->port = atoi(value);
    else if (strcmp(name, "--processes") == 0) tool_user.processes = (unsigned)atoi(value);
    else if (strcmp(name, "--data-bytes") == 0) tool_user.data_bytes = strtoull(value, NULL, 10);
    else if (strcmp(name, "--own") == 0 && o->own_count < MAX_OWNED) o->own[o->own_count++] = value;
    else if (strcmp(name, "--filter") == 0) o->filter = strcmp(value, "yes") == 0;
    else if (strcmp(name, "--alone-ms") == 0) alone_after_ms = atoll(value);
    else if (strcmp(name, "--env") == 0) add_environment(value);
    else {
      fprintf(stderr, "hand-agent: unknown option %s\n", name);
      exit(2);
    }
  }
}

static void base_environment(void) {
  char home[300];
  snprintf(home, sizeof home, "HOME=%s", tool_user.home);
  add_environment("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  add_environment(home);
  add_environment("USER=hand");
  add_environment("LOGNAME=hand");
  add_environment("LANG=C.UTF-8");
  add_environment("TERM=dumb");
}

static void loop(int signals) {
  static uint8_t buf[65536];
  last_heard_ms = now_ms();
  static struct pollfd fds[MAX_POLLS];
  operation *who[MAX_RUNNING];
  for (;;) {
    ops_timers();
    shell_next();
    /* Until there is nothing left to show or stdout takes no more; only the latter is something poll can wait for. */
    for (;;) {
      out_flush();
      if (out_pending() >= OUT_BULK_MARK || !attachments_pump()) break;
    }
    int n = 3;
    fds[0] = (struct pollfd){out_pending() < OUT_STOP_MARK ? STDIN_FILENO : -1, POLLIN, 0};
    fds[1] = (struct pollfd){out_pending() > 0 ? STDOUT_FILENO : -1, POLLOUT, 0};
    fds[2] = (struct pollfd){signals, POLLIN, 0};
    int at_shell = n, in_shell = shell_polls(fds + n);
    n += in_shell;
    int at_ops = n, in_ops = ops_polls(fds + n, who);
    n += in_ops;
    int at_tunnel = n, in_tunnel = tunnel_polls(fds + n);
    n += in_tunnel;
    int64_t due = ops_next_deadline(), wait = due > 0 ? due - now_ms() : -1;
    if (due > 0 && wait < 0) wait = 0;
    if (alone_after_ms > 0 && (wait < 0 || wait > alone_after_ms / 4)) wait = alone_after_ms / 4;
    int at_most = wait > 60000 ? 60000 : (int)wait;
    int64_t before = now_ms();
    if (poll(fds, (nfds_t)n, at_most) < 0 && errno != EINTR) exit(1);
    shell_events(fds + at_shell, in_shell);
    for (int i = 0; i < in_ops; i++)
      if (fds[at_ops + i].revents) ops_readable(who[i]);
    if (fds[2].revents) reap(signals);
    tunnel_events(fds + at_tunnel, in_tunnel);
    if (fds[0].revents) {
      ssize_t got = read(STDIN_FILENO, buf, sizeof buf);
      if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) exit(0);
      if (got > 0) {
        last_heard_ms = now_ms();
        frames_feed(buf, (size_t)got, handle, damaged);
      }
    }
    end_if_alone(before, at_most);
  }
}

/* Directories become the tool user's; then nothing can be given away any more. */
static bool own(const options *o) {
  if (o->own_count == 0) return true;
  for (int i = 0; i < o->own_count; i++)
    if (chown(o->own[i], tool_user.uid, tool_user.gid) != 0) return false;
  struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct sets[2];
  if (syscall(SYS_capget, &head, sets) != 0) return false;
  uint32_t without = ~(1u << CAP_CHOWN);
  sets[0].effective &= without, sets[0].permitted &= without, sets[0].inheritable &= without;
  return syscall(SYS_capset, &head, sets) == 0;
}

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "keep") == 0) return keep(argc, argv);
  options o = {.journal = "/.manyhands/journal", .journal_fd = -1, .port = 8079};
  snprintf(run_dir, 256, "/.manyhands/run");
  read_arguments(argc, argv, &o);
  /* What the engine gave us is nobody's business in here, also where the kernel would show it (gVisor does). */
  for (char **e = environ; *e; e++) memset(*e, 0, strlen(*e));
  base_environment();
  umask(022);
  prctl(PR_SET_DUMPABLE, 0);         /* no ptrace, no /proc/<pid>/mem, no core of the one who knows the journal */
  prctl(PR_SET_CHILD_SUBREAPER, 1);  /* orphans come to us also where we are not PID 1 */
  signal(SIGPIPE, SIG_IGN);
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGCHLD);
  sigaddset(&mask, SIGTERM);
  sigprocmask(SIG_BLOCK, &mask, NULL);
  int signals = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
  fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
  fcntl(STDOUT_FILENO, F_SETFL, O_NONBLOCK);
  int journal = o.journal_fd >= 0 ? o.journal_fd : open(o.journal, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (signals < 0 || !ledger_open(journal)) {
    fprintf(stderr, "hand-agent: journal %s: %s\n", o.journal, strerror(errno));
    return 1;
  }
  if (!tunnel_listen((uint16_t)o.port)) {
    fprintf(stderr, "hand-agent: port %d: %s\n", o.port, strerror(errno));
    return 1;
  }
  if (!own(&o) || (o.filter && !filter_install())) {
    fprintf(stderr, "hand-agent: the hand could not be secured: %s\n", strerror(errno));
    return 1;
  }
  loop(signals);
}
