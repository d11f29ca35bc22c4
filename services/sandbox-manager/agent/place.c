/*
 * Files that tools can read and not change. The child that does this is who the agent is, so it goes only where nobody
 * else could have put a link in its way: below folders that are the agent's own, link by link refused, never by a
 * whole path. A file appears under its name when it is whole. A folder that tools may write in is made here and entered
 * by tools only: the agent goes through none that anybody else can change.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "agent.h"

#define PLACED_MODE 0444
#define FOLDER_MODE 0755
#define TOOLS_FOLDER_MODE 0777
#define MAX_NAME 255

static const char *const roots[] = {"/mnt/session/uploads/", "/mnt/memory/"};

static int open_folder(int at, const char *name) {
  struct stat st;
  int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return -1;
  if (fstat(fd, &st) == 0 && st.st_uid == geteuid() && !(st.st_mode & (S_IWGRP | S_IWOTH))) return fd;
  close(fd);
  errno = EPERM;
  return -1;
}

/* The folder of a path, made where it is missing, and the last part of the path. -1 and errno. */
static int folder_of(const char *path, bool make, char *last) {
  const char *root = NULL;
  for (size_t i = 0; i < sizeof roots / sizeof *roots; i++)
    if (strncmp(path, roots[i], strlen(roots[i])) == 0) root = roots[i];
  if (!root) {
    errno = EPERM;
    return -1;
  }
  int at = open_folder(AT_FDCWD, root);
  for (const char *rest = path + strlen(root); at >= 0;) {
    size_t len = strcspn(rest, "/");
    if (len == 0 || len > MAX_NAME || strncmp(rest, "..", len) == 0) {
      close(at);
      errno = EINVAL;
      return -1;
    }
    memcpy(last, rest, len);
    last[len] = 0;
    if (rest[len] == 0) return at;
    int next = !make || mkdirat(at, last, FOLDER_MODE) == 0 || errno == EEXIST ? open_folder(at, last) : -1;
    int why = errno;
    close(at);
    errno = why;
    at = next;
    rest += len + 1;
  }
  return -1;
}

static int copy(int from, int to, off_t at) {
  static uint8_t buf[65536];
  off_t read_at = 0;
  for (ssize_t n; (n = pread(from, buf, sizeof buf, read_at)) != 0; read_at += n) {
    if (n < 0) return errno;
    for (ssize_t done = 0; done < n;) {
      ssize_t put = pwrite(to, buf + done, (size_t)(n - done), at + read_at + done);
      if (put <= 0) return put < 0 ? errno : EIO;
      done += put;
    }
  }
  return 0;
}

/* A folder of the tools' own. Its parent is ours, so that nobody can put anything else under its name. */
static int make_tools_folder(int parent, const char *name) {
  if (mkdirat(parent, name, FOLDER_MODE) != 0 && errno != EEXIST) return errno;
  int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return errno;
  int bad = fchmod(fd, TOOLS_FOLDER_MODE) == 0 ? 0 : errno;
  close(fd);
  return bad;
}

int child_place(const char *path, uint64_t offset, int body, uint32_t how) {
  char name[MAX_NAME + 1], part[MAX_NAME + 1];
  int folder = folder_of(path, how != PLACE_REMOVE, name);
  if (folder < 0) return how == PLACE_REMOVE && errno == ENOENT ? 0 : errno;
  if (how == PLACE_FOLDER) return make_tools_folder(folder, name);
  if (snprintf(part, sizeof part, ".mh-part-%s", name) >= (int)sizeof part) return ENAMETOOLONG;
  if (how == PLACE_REMOVE) {
    unlinkat(folder, part, 0);
    return unlinkat(folder, name, 0) == 0 || errno == ENOENT ? 0 : errno;
  }
  int begin = offset == 0 ? O_CREAT | O_TRUNC : 0;
  int fd = openat(folder, part, O_WRONLY | O_NOFOLLOW | O_CLOEXEC | begin, 0600);
  if (fd < 0) return errno;
  int bad = copy(body, fd, (off_t)offset);
  if (!bad && how == PLACE_LAST && fchmod(fd, PLACED_MODE) != 0) bad = errno;
  if (close(fd) != 0 && !bad) bad = errno;
  if (!bad && how == PLACE_LAST && renameat(folder, part, folder, name) != 0) bad = errno;
  if (bad) unlinkat(folder, part, 0);
  return bad;
}
