/*
 * What snapshots are made of, read in a child of the tool user: which files there are, with everything that tells that
 * one changed, and the bytes of many of them at once.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "agent.h"

#define MAX_DEPTH 64

static void put_time(writer *w, const struct timespec *t) {
  put_u64(w, (uint64_t)t->tv_sec * 1000000000u + (uint64_t)t->tv_nsec);
}

/* type ('f' 'd' 'l' 'o'), permission bits u32, size u64, mtime and ctime in ns u64, path, NUL, a link's target, NUL */
static void put_entry(int dir, const char *name, const char *path, size_t len, const struct stat *st) {
  char target[PATH_MAX];
  ssize_t n = S_ISLNK(st->st_mode) ? readlinkat(dir, name, target, sizeof target) : 0;
  static writer w;
  w.len = 0;
  put_u8(&w, S_ISREG(st->st_mode) ? 'f' : S_ISDIR(st->st_mode) ? 'd' : S_ISLNK(st->st_mode) ? 'l' : 'o');
  put_u32(&w, st->st_mode & 07777);
  put_u64(&w, (uint64_t)st->st_size);
  put_time(&w, &st->st_mtim);
  put_time(&w, &st->st_ctim);
  fwrite(w.buf, 1, w.len, stdout);
  fwrite(path, 1, len, stdout);
  fputc(0, stdout);
  if (n > 0) fwrite(target, 1, (size_t)n, stdout);
  fputc(0, stdout);
}

/* Adds rights that the owner, who we are, took from itself. False when there is nothing to add, or it may not be. */
static bool open_up(int dir, const char *name, mode_t needed, mode_t *before) {
  struct stat st;
  if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || S_ISLNK(st.st_mode)) return false;
  if ((st.st_mode & needed) == needed || st.st_uid != getuid()) return false;
  *before = st.st_mode & 07777;
  return fchmodat(dir, name, *before | needed, 0) == 0;
}

/*
 * A file that modes hide from its own owner, on itself or on a folder above, is opened by lifting them for an instant:
 * it is a file like any other, and belongs into a snapshot.
 */
static int open_hidden(const char *path) {
  struct { int dir; char name[NAME_MAX + 1]; mode_t mode; } lifted[MAX_DEPTH];
  int n = 0, dirs[MAX_DEPTH], depth = 0, fd = -1;
  dirs[depth++] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  for (const char *at = path + 1; dirs[depth - 1] >= 0 && depth < MAX_DEPTH;) {
    const char *slash = strchrnul(at, '/');
    size_t len = (size_t)(slash - at);
    int dir = dirs[depth - 1];
    if (len == 0 || len > NAME_MAX) break;
    memcpy(lifted[n].name, at, len);
    lifted[n].name[len] = 0;
    char name[NAME_MAX + 1];
    memcpy(name, lifted[n].name, len + 1);
    lifted[n].dir = dir;
    if (open_up(dir, name, *slash ? S_IRUSR | S_IXUSR : S_IRUSR, &lifted[n].mode)) n++;
    if (!*slash) {
      fd = openat(dir, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC);
      break;
    }
    dirs[depth++] = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    at = slash + 1;
  }
  while (n-- > 0) fchmodat(lifted[n].dir, lifted[n].name, lifted[n].mode, 0);
  while (depth-- > 0)
    if (dirs[depth] >= 0) close(dirs[depth]);
  if (fd < 0) errno = EACCES;
  return fd;
}

static void walk(int dir, char *path, size_t len, uint32_t *left, int depth) {
  DIR *d = fdopendir(dir);
  if (!d) {
    close(dir);
    return;
  }
  for (struct dirent *e; *left > 0 && (e = readdir(d));) {
    size_t n = strlen(e->d_name);
    struct stat st;
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || len + n + 2 > PATH_MAX) continue;
    if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue; /* gone since */
    path[len] = '/';
    memcpy(path + len + 1, e->d_name, n + 1);
    put_entry(dirfd(d), e->d_name, path, len + 1 + n, &st);
    (*left)--;
    if (!S_ISDIR(st.st_mode) || depth >= MAX_DEPTH) continue;
    mode_t before;
    bool is_lifted = open_up(dirfd(d), e->d_name, S_IRUSR | S_IXUSR, &before);
    int sub = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (sub >= 0) walk(sub, path, len + 1 + n, left, depth + 1);
    path[len + 1 + n] = 0;
    if (is_lifted) fchmodat(dirfd(d), path + len + 1, before, 0);
  }
  closedir(d);
}

/* The entries below each root, which are absolute; a root that is not there has none. */
int child_manifest(char *const *roots, uint32_t max_entries) {
  static char path[PATH_MAX + 256];
  for (; *roots; roots++) {
    size_t len = strlen(*roots);
    if (len == 0 || len >= PATH_MAX || **roots != '/') return EINVAL;
    memcpy(path, *roots, len + 1);
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir >= 0) walk(dir, path, len, &max_entries, 0);
  }
  return fflush(stdout) == 0 ? 0 : errno;
}

/* For each path: its errno u32 and its size u64, then that many bytes. No link is followed at a path's end. */
int child_bundle(char *const *paths) {
  static uint8_t buf[65536];
  for (; *paths; paths++) {
    struct stat st = {.st_size = 0};
    int fd = open(*paths, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == EACCES) fd = open_hidden(*paths);
    int bad = fd < 0 ? errno : fstat(fd, &st) != 0 ? errno : S_ISREG(st.st_mode) ? 0 : EINVAL;
    uint64_t left = bad ? 0 : (uint64_t)st.st_size;
    static writer w;
    w.len = 0;
    put_u32(&w, (uint32_t)bad);
    put_u64(&w, left);
    fwrite(w.buf, 1, w.len, stdout);
    while (left > 0) {
      ssize_t n = read(fd, buf, left < sizeof buf ? (size_t)left : sizeof buf);
      if (n <= 0) memset(buf, 0, sizeof buf); /* it became shorter while it was read; the next look sees it changed */
      size_t take = n > 0 ? (size_t)n : left < sizeof buf ? (size_t)left : sizeof buf;
      fwrite(buf, 1, take, stdout);
      left -= take;
    }
    if (fd >= 0) close(fd);
  }
  return fflush(stdout) == 0 ? 0 : errno;
}
