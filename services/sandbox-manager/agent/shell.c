/*
 * The persistent shell: one per hand, so that cd, variables, functions and background jobs last between commands.
 *
 * The shell runs a loop of one line. It reads the path of a script on fd 8, sources it with the two lines closed, and
 * writes the exit code on fd 9. Exit codes therefore travel outside the output: nothing a command prints can be taken
 * for the end of it. Scripts lie in a directory only root can write.
 *
 * Commands take turns. A command that ends the shell (`exit`, a syntax error in dash, a timeout) ends with
 * shell_lost set, and the next command gets a new shell.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "agent.h"

#define SHELL_LOOP "while IFS= read -r __mh_script <&8; do command . \"$__mh_script\" 8<&- 9>&-; echo \"$?\" >&9; done"

extern char **tool_environment;

static pid_t shell = -1;
static int control = -1, status = -1, output = -1;
static char status_text[32];
static size_t status_len;
static operation *current;
static operation *waiting[MAX_RUNNING];
static int waiting_count;

pid_t shell_pid(void) { return shell; }
operation *shell_current(void) { return current; }
const char *shell_path(void) { return access("/bin/bash", X_OK) == 0 ? "/bin/bash" : "/bin/sh"; }

static void close_lines(void) {
  if (control >= 0) close(control);
  if (status >= 0) close(status);
  if (output >= 0) close(output);
  control = status = output = -1;
  status_len = 0;
}

static bool start_shell(void) {
  int c[2], s[2], o[2];
  if (pipe2(c, O_CLOEXEC) != 0) return false;
  if (pipe2(s, O_CLOEXEC) != 0) {
    close(c[0]), close(c[1]);
    return false;
  }
  if (pipe2(o, O_CLOEXEC) != 0) {
    close(c[0]), close(c[1]), close(s[0]), close(s[1]);
    return false;
  }
  pid_t pid = fork();
  if (pid == 0) {
    int null = open("/dev/null", O_RDONLY);
    become_tool(null, o[1], c[0], s[1]);
    if (chdir(tool_user.workspace) != 0 && chdir("/") != 0) _exit(126);
    const char *path = shell_path();
    if (strcmp(path, "/bin/bash") == 0)
      execle(path, "bash", "--norc", "--noprofile", "-c", SHELL_LOOP, (char *)NULL, tool_environment);
    else
      execle(path, "sh", "-c", SHELL_LOOP, (char *)NULL, tool_environment);
    dprintf(2, "no shell in this image: %s: %s\n", path, strerror(errno));
    _exit(127);
  }
  close(c[0]), close(s[1]), close(o[1]);
  if (pid < 0) {
    close(c[1]), close(s[0]), close(o[0]);
    return false;
  }
  control = c[1], status = s[0], output = o[0];
  fcntl(control, F_SETFL, O_NONBLOCK);
  fcntl(status, F_SETFL, O_NONBLOCK);
  fcntl(output, F_SETFL, O_NONBLOCK);
  shell = pid;
  return true;
}

/* What the pipe holds at this moment and no more: a background job may write for ever. */
static void drain_output(void) {
  static uint8_t buf[65536];
  int left = 0;
  if (output < 0 || ioctl(output, FIONREAD, &left) != 0) return;
  while (left > 0) {
    ssize_t n = read(output, buf, (size_t)left < sizeof buf ? (size_t)left : sizeof buf);
    if (n <= 0) return;
    /* Between commands nobody owns what a background job prints; it is read so that the job does not stall. */
    if (current) op_output(current, buf, (size_t)n);
    left -= (int)n;
  }
}

static void finish_current(int32_t code, int32_t sig) {
  operation *op = current;
  current = NULL;
  if (!op) return;
  if (op->script) unlink(op->script);
  free(op->script);
  op->script = NULL;
  op_finish(op, code, sig);
}

static bool run(operation *op) {
  if (shell < 0 && !start_shell()) return false;
  size_t n = strlen(op->script);
  char line[300];
  snprintf(line, sizeof line, "%s\n", op->script);
  if (write(control, line, n + 1) != (ssize_t)(n + 1)) return false;
  current = op;
  op->pid = shell;
  op->phase = P_RUNNING;
  op->born_ticks = clock_ticks_now();
  op->oom_before = oom_count();
  op->deadline = op->timeout_ms > 0 ? now_ms() + op->timeout_ms : 0;
  return true;
}

void shell_next(void) {
  while (!current && waiting_count > 0) {
    operation *op = waiting[0];
    memmove(waiting, waiting + 1, (size_t)(--waiting_count) * sizeof waiting[0]);
    if (op->kind == K_RESTART) {
      shell_restart();
      op_finish(op, shell > 0 || start_shell() ? 0 : 1, 0);
    } else if (!run(op)) {
      static const char text[] = "the shell could not be started (process or memory limit of the hand)\n";
      op_output(op, (const uint8_t *)text, sizeof text - 1);
      op->shell_lost = true;
      current = op;
      finish_current(126, 0);
      shell_restart();
    }
  }
  if (shell < 0 && !current && waiting_count == 0) start_shell(); /* warm for the next command */
}

bool shell_submit(operation *op, int body) {
  if (waiting_count == MAX_RUNNING) return false;
  if (op->kind == K_SHELL) {
    char path[300], buf[8192];
    snprintf(path, sizeof path, "%.200s/s%u", run_dir, op->number);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) return false;
    bool ok = true;
    off_t at = 0;
    for (ssize_t n; ok && (n = pread(body, buf, sizeof buf, at)) > 0; at += n) ok = write(fd, buf, (size_t)n) == n;
    ok = ok && write(fd, "\n", 1) == 1 && fchmod(fd, 0644) == 0;
    close(fd);
    op->script = ok ? strdup(path) : NULL;
    if (!op->script) {
      unlink(path);
      return false;
    }
  }
  waiting[waiting_count++] = op;
  return true;
}

void shell_unqueue(operation *op) {
  for (int i = 0; i < waiting_count; i++)
    if (waiting[i] == op) {
      memmove(waiting + i, waiting + i + 1, (size_t)(waiting_count - i - 1) * sizeof waiting[0]);
      waiting_count--;
      if (op->script) unlink(op->script);
      return;
    }
}

void shell_restart(void) {
  if (shell > 0) kill_tree(shell, UINT64_MAX, SIGKILL);
  shell = -1;
  close_lines();
}

void shell_ended(pid_t pid, int how) {
  if (pid != shell) return;
  if (current) kill_tree(shell, current->born_ticks, SIGKILL);
  drain_output();
  close_lines();
  shell = -1;
  if (current) {
    current->shell_lost = true;
    if (WIFSIGNALED(how)) finish_current(-1, WTERMSIG(how));
    else finish_current(WEXITSTATUS(how), 0);
  }
}

int shell_polls(struct pollfd *into) {
  if (shell < 0) return 0;
  into[0] = (struct pollfd){output, POLLIN, 0};
  into[1] = (struct pollfd){status, POLLIN, 0};
  return 2;
}

void shell_events(const struct pollfd *from, int n) {
  if (n != 2) return;
  /* The code is looked at first: all the command printed before it is in the pipe by then, so draining after it
   * misses nothing and what comes later is not this command's. */
  bool ended = false;
  int32_t code = 0;
  if (from[1].revents & (POLLIN | POLLHUP)) {
    ssize_t got = read(status, status_text + status_len, sizeof status_text - 1 - status_len);
    if (got > 0) status_len += (size_t)got;
    status_text[status_len] = 0;
    char *newline = strchr(status_text, '\n');
    if (newline) {
      code = atoi(status_text);
      ended = true;
    }
    if (newline || status_len == sizeof status_text - 1) status_len = 0;
  }
  if (ended || from[0].revents) drain_output();
  if (from[0].revents & POLLHUP && !(from[0].revents & POLLIN)) { /* nobody holds it any more; the reaper ends it */
    if (output >= 0) close(output);
    output = -1;
  }
  if (ended && current && current->kill_at == 0) finish_current(code, 0);
}
