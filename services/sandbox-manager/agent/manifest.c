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
    int sub = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (sub >= 0) walk(sub, path, len + 1 + n, left, depth + 1);
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
