/*
 * File work, done in a child that already is the tool user: a path can reach what a shell command could reach, and
 * nothing more, whatever links or races the hand's processes prepare. Answers are exit codes: 0 or an errno.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "agent.h"

static int write_all(int fd, const void *data, size_t len) {
  const uint8_t *p = data;
  while (len > 0) {
    ssize_t n = write(fd, p, len);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return errno ? errno : EIO;
    p += n;
    len -= (size_t)n;
  }
  return 0;
}

int child_read(const char *path, uint64_t offset, uint64_t max) {
  static uint8_t buf[65536];
  struct stat st;
  /* O_NONBLOCK: a FIFO put in place of a file must not hold us. */
  int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return errno;
  if (fstat(fd, &st) != 0) return errno;
  if (S_ISDIR(st.st_mode)) return EISDIR;
  if (!S_ISREG(st.st_mode)) return EINVAL;
  while (max > 0) {
    ssize_t n = pread(fd, buf, max < sizeof buf ? (size_t)max : sizeof buf, (off_t)offset);
    if (n < 0) return errno;
    if (n == 0) break;
    int bad = write_all(1, buf, (size_t)n);
    if (bad) return bad;
    offset += (uint64_t)n;
    max -= (uint64_t)n;
  }
  return 0;
}

static int make_parents(char *path) {
  for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    int bad = mkdir(path, 0755) == 0 || errno == EEXIST ? 0 : errno;
    *slash = '/';
    if (bad) return bad;
  }
  return 0;
}

/* Whole or not at all: into a temporary file beside the target, then renamed over it. */
int child_write(const char *path, int body, uint32_t mode) {
  static uint8_t buf[65536];
  char target[PATH_MAX], temp[PATH_MAX + 32];
  struct stat st;
  if (!realpath(path, target)) { /* an existing link is written through, not replaced */
    if (errno != ENOENT) return errno;
    if (strlen(path) >= sizeof target) return ENAMETOOLONG;
    strcpy(target, path);
    int bad = make_parents(target);
    if (bad) return bad;
  } else if (stat(target, &st) == 0) {
    if (S_ISDIR(st.st_mode)) return EISDIR;
    if (!S_ISREG(st.st_mode)) return EINVAL;
    if (access(target, W_OK) != 0) return errno;
    mode = st.st_mode & 0777;
  }
  if (snprintf(temp, sizeof temp, "%s.mh%d", target, (int)getpid()) >= (int)sizeof temp) return ENAMETOOLONG;
  int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  if (fd < 0) return errno;
  int bad = 0;
  off_t at = 0;
  for (ssize_t n; !bad && (n = pread(body, buf, sizeof buf, at)) != 0; at += n)
    bad = n < 0 ? errno : write_all(fd, buf, (size_t)n);
  if (!bad && fchmod(fd, mode ? mode : 0644) != 0) bad = errno;
  if (close(fd) != 0 && !bad) bad = errno;
  if (!bad && rename(temp, target) != 0) bad = errno;
  if (bad) unlink(temp);
  return bad;
}

/* One record per entry on stdout: type ('f' 'd' 'l' 'o'), size u64, mtime in ns u64, path relative to the root, NUL. */
static int list(int dir, char *relative, size_t len, uint32_t *left, int depth) {
  DIR *d = fdopendir(dir);
  if (!d) {
    close(dir);
    return errno;
  }
  for (struct dirent *e; *left > 0 && (e = readdir(d));) {
    const char *name = e->d_name;
    size_t n = strlen(name);
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || len + n + 2 > PATH_MAX) continue;
    struct stat st;
    if (fstatat(dirfd(d), name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue; /* gone since */
    memcpy(relative + len, name, n + 1);
    writer w = {.len = 0};
    put_u8(&w, S_ISREG(st.st_mode) ? 'f' : S_ISDIR(st.st_mode) ? 'd' : S_ISLNK(st.st_mode) ? 'l' : 'o');
    put_u64(&w, (uint64_t)st.st_size);
    put_u64(&w, (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec);
    fwrite(w.buf, 1, w.len, stdout);
    fwrite(relative, 1, len + n + 1, stdout);
    (*left)--;
    if (S_ISDIR(st.st_mode) && depth < 64) {
      int sub = openat(dirfd(d), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      if (sub < 0) continue; /* not ours to read: listed, not entered */
      relative[len + n] = '/';
      list(sub, relative, len + n + 1, left, depth + 1);
    }
  }
  closedir(d);
  return 0;
}

int child_tree(const char *path, uint32_t max_entries) {
  static char relative[PATH_MAX + 256];
  int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir < 0) return errno;
  int bad = list(dir, relative, 0, &max_entries, 0);
  if (fflush(stdout) != 0 && !bad) bad = errno;
  return bad;
}
