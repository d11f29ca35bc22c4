/*
 * Processes of the tool user: how they are made powerless, and how a whole tree of them is ended.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "agent.h"

#define MAX_PROCESSES 4096 /* looked at in one walk; the container's pids limit is far below */
#define KILL_PASSES 12     /* a fork bomb may outrun one walk; each pass finds what the one before it missed */

identity tool_user = {65532, 65532, 0, 0, "/workspace", "/home/hand"};

static void close_from(int lowest) {
#ifdef SYS_close_range
  if (syscall(SYS_close_range, (unsigned)lowest, ~0u, 0) == 0) return;
#endif
  for (int fd = lowest; fd < 4096; fd++) close(fd);
}

void become_child(int in, int out, int keep1, int keep2) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  signal(SIGPIPE, SIG_DFL);
  setsid();
  /* First out of the way of the numbers they are to get, then into place; 8 and 9 are the shell's two lines to us. */
  int from[4] = {in, out, keep1, keep2}, to[4] = {0, 1, 8, 9};
  for (int i = 0; i < 4; i++)
    if (from[i] >= 0) from[i] = fcntl(from[i], F_DUPFD, 20);
  for (int i = 0; i < 4; i++) {
    if (from[i] >= 0) dup2(from[i], to[i]);
    else close(to[i]);
  }
  dup2(1, 2);
  for (int fd = 3; fd < 8; fd++) close(fd);
  close_from(10);
  struct rlimit no_core = {0, 0}, files = {4096, 4096};
  setrlimit(RLIMIT_CORE, &no_core);
  setrlimit(RLIMIT_NOFILE, &files);
  /* Only where the hand has a user namespace of its own: elsewhere the kernel counts over all hands of the machine. */
  struct rlimit processes = {tool_user.processes, tool_user.processes};
  if (tool_user.processes > 0) setrlimit(RLIMIT_NPROC, &processes);
  struct rlimit data = {tool_user.data_bytes, tool_user.data_bytes};
  if (tool_user.data_bytes > 0) setrlimit(RLIMIT_DATA, &data);
  int score = open("/proc/self/oom_score_adj", O_WRONLY);
  if (score >= 0) { /* when memory runs out a tool goes first, not the agent that has to report it */
    if (write(score, "1000", 4) < 0) { /* a hand without /proc still works */ }
    close(score);
  }
  umask(022);
}

void become_tool(int in, int out, int keep1, int keep2) {
  become_child(in, out, keep1, keep2);
  if (getuid() == 0) {
    /* From uid 0 to another: the kernel clears every capability set that counts (capabilities(7)). */
    if (setgroups(0, NULL) != 0 || setgid(tool_user.gid) != 0 || setuid(tool_user.uid) != 0 || getuid() == 0) _exit(126);
  }
}

uint64_t clock_ticks_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_BOOTTIME, &t);
  uint64_t hz = (uint64_t)sysconf(_SC_CLK_TCK);
  return (uint64_t)t.tv_sec * hz + (uint64_t)t.tv_nsec * hz / 1000000000u;
}

typedef struct {
  pid_t pid, parent, session;
  uint64_t born;
  bool zombie, wanted;
} process;

static process table[MAX_PROCESSES];

/* /proc/<pid>/stat: the name in parentheses may hold anything, so fields are counted from its last ')'. */
static bool read_process(const char *name, process *p) {
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%.20s/stat", name);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0) return false;
  text[n] = 0;
  char *end = strrchr(text, ')'), state;
  int parent, group, session;
  unsigned long long born;
  if (!end || sscanf(end + 1, " %c %d %d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &state,
                     &parent, &group, &session, &born) != 5)
    return false;
  *p = (process){(pid_t)atoi(name), parent, session, born, state == 'Z' || state == 'X', false};
  return true;
}

static int read_table(void) {
  DIR *d = opendir("/proc");
  int n = 0;
  if (!d) return 0;
  for (struct dirent *e; n < MAX_PROCESSES && (e = readdir(d));)
    if (isdigit((unsigned char)e->d_name[0]) && read_process(e->d_name, &table[n])) n++;
  closedir(d);
  return n;
}

/*
 * Who belongs to an operation: every member of its leader's session; every descendant of those; and whoever lost its
 * parent to us (double fork) and was born after the operation began. The last rule may catch the daemon of another
 * operation of the same time: ending too much of a hand is recoverable, leaving a runaway alive is not.
 */
static int mark(int n, pid_t session, uint64_t born_ticks) {
  pid_t self = getpid();
  int found = 0;
  for (bool more = true; more;) {
    more = false;
    for (int i = 0; i < n; i++) {
      process *p = &table[i];
      if (p->wanted || p->pid == self) continue;
      bool wanted = p->session == session || (p->parent == self && p->born >= born_ticks && !is_own_child(p->pid));
      for (int j = 0; j < n && !wanted; j++) wanted = table[j].wanted && table[j].pid == p->parent;
      if (wanted) {
        p->wanted = more = true;
        if (!p->zombie) found++;
      }
    }
  }
  return found;
}

int kill_tree(pid_t session, uint64_t born_ticks, int sig) {
  int signalled = 0;
  for (int pass = 0; pass < (sig == SIGKILL ? KILL_PASSES : 1); pass++) {
    int n = read_table();
    if (mark(n, session, born_ticks) == 0) break;
    for (int i = 0; i < n; i++)
      if (table[i].wanted && !table[i].zombie && kill(table[i].pid, sig) == 0) signalled++;
    sched_yield();
  }
  return signalled;
}

/* The container's OOM kills so far: the kernel's own count, because exit code 137 proves nothing. -1: not readable. */
int64_t oom_count(void) {
  static const char *const files[] = {"/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"};
  static int fd = -2;
  if (fd == -2) {
    fd = -1;
    for (int i = 0; i < 2 && fd < 0; i++) fd = open(files[i], O_RDONLY | O_CLOEXEC);
  }
  char text[512];
  ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof text - 1, 0);
  if (n <= 0) return -1;
  text[n] = 0;
  char *at = strstr(text, "oom_kill ");
  return at ? atoll(at + 9) : -1;
}
