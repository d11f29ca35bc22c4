/*
 * The keeper: what an engine is to a container, for hands without an engine. One per hand, outside of it.
 *
 * hand-agent keep --folder DIR [--map BASE] [--cgroup FILE]... -- PROGRAM ARGS...
 *
 * DIR holds: socket (managers attach here), journal/ (the ledger, on the machine's side), keeper (our process number).
 *
 * It makes the hand's user namespace, puts it into its cgroups, starts PROGRAM (bwrap with the agent inside) and owns the
 * agent's stdin and stdout as long as the hand lives. Managers attach by the socket, come and go; each hears
 * everything, and their bytes go to the agent as they come, as with an engine's attach stream. Rules:
 *
 *   K1  The hand ends with its keeper: it holds the only writing end of the agent's stdin, and PROGRAM dies with it.
 *   K2  A manager that is slow holds the stream up for DRAIN_MS at most; then it is dropped. One that died is dropped
 *       at once. Without a manager the agent's output is discarded: the ledger has it.
 *   K3  PROGRAM finds one file open besides the usual: JOURNAL_FD, the journal's directory, which has no path inside.
 *   K4  With --map, PROGRAM is root of a user namespace of its own, in which there are two numbers: 0 and the tools'.
 *
 * Says "ready" on stdout when the socket can be connected to; all else goes to stderr.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "agent.h"

#define JOURNAL_FD 11
#define MAX_MANAGERS 8
#define MAX_CGROUPS 8
#define DRAIN_MS 20000
#define CHUNK 65536
#define MAPPED_TOOL 65532 /* the tool user inside; BASE + 1 outside, as the agent's 0 is BASE */

typedef struct {
  const char *folder, *cgroups[MAX_CGROUPS];
  int cgroup_count;
  unsigned long base; /* 0: PROGRAM makes its own user namespace */
  char **program;
} keep_options;

static void give_up(const char *what) {
  fprintf(stderr, "keeper: %s: %s\n", what, strerror(errno));
  exit(1);
}

static keep_options parse(int argc, char **argv) {
  keep_options o = {0};
  int i = 2;
  for (; i + 1 < argc && strcmp(argv[i], "--") != 0; i += 2) {
    if (strcmp(argv[i], "--folder") == 0) o.folder = argv[i + 1];
    else if (strcmp(argv[i], "--map") == 0) o.base = strtoul(argv[i + 1], NULL, 10);
    else if (strcmp(argv[i], "--cgroup") == 0 && o.cgroup_count < MAX_CGROUPS) o.cgroups[o.cgroup_count++] = argv[i + 1];
    else break;
  }
  if (i + 1 >= argc || strcmp(argv[i], "--") != 0 || !o.folder) {
    fprintf(stderr, "keeper: usage: keep --folder DIR [--map BASE] [--cgroup FILE]... -- PROGRAM ...\n");
    exit(2);
  }
  o.program = argv + i + 1;
  return o;
}

static void write_text(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) give_up(path);
  close(fd);
}

/* Two numbers of the hand become two numbers of the machine that nothing else has: leaving the hand they are nobody. */
static void map_numbers(pid_t child, unsigned long base) {
  char path[64], map[128];
  snprintf(map, sizeof map, "0 %lu 1\n%d %lu 1\n", base, MAPPED_TOOL, base + 1);
  snprintf(path, sizeof path, "/proc/%d/uid_map", (int)child);
  write_text(path, map);
  snprintf(path, sizeof path, "/proc/%d/gid_map", (int)child);
  write_text(path, map);
}

static void place(int fd, int at) {
  if (fd == at ? fcntl(fd, F_SETFD, 0) != 0 : dup2(fd, at) < 0) give_up("dup2");
}

/* The child's half: into the cgroups, into the user namespace, and only then the program. */
static void become_program(const keep_options *o, int journal, int made, int mapped) {
  char byte;
  for (int i = 0; i < o->cgroup_count; i++) write_text(o->cgroups[i], "0");
  if (o->base) {
    if (unshare(CLONE_NEWUSER) != 0) give_up("a user namespace");
    if (write(made, "m", 1) != 1 || read(mapped, &byte, 1) != 1) exit(1);
    if (setgroups(0, NULL) != 0 || setresgid(0, 0, 0) != 0 || setresuid(0, 0, 0) != 0) give_up("the hand's own numbers");
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL); /* after the change of numbers, which clears it */
  place(journal, JOURNAL_FD);
  struct rlimit no_core = {0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  signal(SIGPIPE, SIG_DFL);
  execvp(o->program[0], o->program);
  give_up(o->program[0]);
}

static pid_t start(const keep_options *o, int in, int out) {
  int made[2], mapped[2], journal = open("journal", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (journal < 0) give_up("journal");
  if (pipe2(made, O_CLOEXEC) != 0 || pipe2(mapped, O_CLOEXEC) != 0) give_up("pipe");
  pid_t pid = fork();
  if (pid < 0) give_up("fork");
  if (pid == 0) {
    place(in, 0), place(out, 1);
    close(made[0]), close(mapped[1]); /* a keeper that died is seen as the end of `mapped` */
    become_program(o, journal, made[1], mapped[0]);
  }
  close(journal), close(made[1]), close(mapped[0]);
  if (o->base) {
    char byte;
    if (read(made[0], &byte, 1) != 1) exit(1); /* the child said why */
    map_numbers(pid, o->base);
    if (write(mapped[1], "m", 1) != 1) give_up("pipe");
  }
  close(made[0]), close(mapped[1]);
  return pid;
}

static int listen_here(void) {
  struct sockaddr_un where = {.sun_family = AF_UNIX, .sun_path = "socket"};
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&where, sizeof where) != 0 || listen(fd, MAX_MANAGERS) != 0) give_up("socket");
  return fd;
}

typedef struct {
  int fd; /* -1: free */
  size_t sent; /* bytes of the present chunk it has */
} manager;

static manager managers[MAX_MANAGERS];
static uint8_t chunk[CHUNK], request[CHUNK];
static size_t chunk_len, request_from, request_to;
static int64_t chunk_since;

static pid_t program = -1;

/* The agent is gone, and the hand with it: how, for whoever asks, and the end. */
static void end_of_hand(void) {
  int how;
  if (waitpid(program, &how, 0) == program) {
    if (WIFSIGNALED(how)) fprintf(stderr, "the hand ended by signal %d\n", WTERMSIG(how));
    else fprintf(stderr, "the hand ended with exit code %d\n", WEXITSTATUS(how));
  }
  exit(0);
}

static void let_go(manager *m) {
  close(m->fd);
  m->fd = -1;
}

static void accept_manager(int listener) {
  int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  for (int i = 0; fd >= 0 && i < MAX_MANAGERS; i++)
    if (managers[i].fd < 0) {
      managers[i] = (manager){fd, chunk_len}; /* what began before it came is not for it */
      return;
    }
  if (fd >= 0) close(fd);
}

/* Gives every manager what it still lacks of the chunk; the chunk is done when all have it (K2). */
static void show_chunk(void) {
  bool all = true;
  for (int i = 0; i < MAX_MANAGERS; i++) {
    manager *m = &managers[i];
    if (m->fd < 0 || m->sent >= chunk_len) continue;
    ssize_t n = send(m->fd, chunk + m->sent, chunk_len - m->sent, MSG_NOSIGNAL);
    if (n > 0) m->sent += (size_t)n;
    else if (errno != EAGAIN && errno != EINTR) let_go(m);
    if (m->fd >= 0 && m->sent < chunk_len && now_ms() - chunk_since > DRAIN_MS) let_go(m);
    if (m->fd >= 0 && m->sent < chunk_len) all = false;
  }
  if (all) chunk_len = 0;
}

static void take_output(int from) {
  ssize_t n = read(from, chunk, sizeof chunk);
  if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) end_of_hand();
  if (n <= 0) return;
  chunk_len = (size_t)n;
  chunk_since = now_ms();
  for (int i = 0; i < MAX_MANAGERS; i++) managers[i].sent = 0;
  show_chunk();
}

static void take_request(manager *m) {
  ssize_t n = recv(m->fd, request, sizeof request, 0);
  if (n > 0) request_from = 0, request_to = (size_t)n;
  else if (n == 0 || (errno != EAGAIN && errno != EINTR)) let_go(m);
}

static void give_request(int into) {
  ssize_t n = write(into, request + request_from, request_to - request_from);
  if (n > 0) request_from += (size_t)n;
  else if (n < 0 && errno != EAGAIN && errno != EINTR) end_of_hand();
}

static void relay(int listener, int into, int from) {
  for (int i = 0; i < MAX_MANAGERS; i++) managers[i].fd = -1;
  for (int first = 0;; first = (first + 1) % MAX_MANAGERS) {
    struct pollfd fds[3 + MAX_MANAGERS];
    bool busy = request_from < request_to;
    fds[0] = (struct pollfd){listener, POLLIN, 0};
    fds[1] = (struct pollfd){chunk_len == 0 ? from : -1, POLLIN, 0};
    fds[2] = (struct pollfd){into, busy ? POLLOUT : 0, 0};
    for (int i = 0; i < MAX_MANAGERS; i++) {
      manager *m = &managers[i];
      short want = (short)((busy ? 0 : POLLIN) | (m->sent < chunk_len ? POLLOUT : 0));
      fds[3 + i] = (struct pollfd){m->fd, want, 0};
    }
    if (poll(fds, 3 + MAX_MANAGERS, chunk_len > 0 ? 1000 : -1) < 0 && errno != EINTR) give_up("poll");
    if (fds[1].revents) take_output(from);
    else if (chunk_len > 0) show_chunk();
    if (fds[2].revents & POLLERR) end_of_hand();
    if (busy && fds[2].revents) give_request(into);
    for (int i = 0; i < MAX_MANAGERS; i++) {
      int at = (first + i) % MAX_MANAGERS; /* round robin: one manager's flood does not shut the others out */
      if (managers[at].fd < 0 || managers[at].fd != fds[3 + at].fd) continue;
      if (fds[3 + at].revents & (POLLIN | POLLHUP | POLLERR) && request_from >= request_to) take_request(&managers[at]);
    }
    if (fds[0].revents) accept_manager(listener);
  }
}

int keep(int argc, char **argv) {
  keep_options o = parse(argc, argv);
  int in[2], out[2];
  setsid();
  signal(SIGPIPE, SIG_IGN);
  signal(SIGHUP, SIG_IGN);
  if (chdir(o.folder) != 0) give_up(o.folder);
  umask(077);
  char number[32];
  snprintf(number, sizeof number, "%d\n", (int)getpid());
  int file = open("keeper", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0 || write(file, number, strlen(number)) < 0) give_up("keeper");
  close(file);
  int listener = listen_here();
  if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) give_up("pipe");
  program = start(&o, in[0], out[1]);
  close(in[0]), close(out[1]);
  fcntl(in[1], F_SETFL, O_NONBLOCK);
  fcntl(out[0], F_SETFL, O_NONBLOCK);
  if (write(STDOUT_FILENO, "ready\n", 6) != 6) give_up("stdout");
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null >= 0) dup2(null, STDOUT_FILENO);
  relay(listener, in[1], out[0]);
  return 0;
}
