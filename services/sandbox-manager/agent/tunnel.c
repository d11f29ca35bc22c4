/*
 * The hand's only way out. A process in the hand connects to 127.0.0.1:<port>; the bytes travel as frames to the
 * manager, which carries them to the vault-proxy and adds there who is asking. The hand holds no token, no name, no
 * address: there is nothing in here to steal. The container itself has no network.
 *
 * Each direction of each connection has a window. OPENED grants the manager CONN_WINDOW at once, and the manager
 * grants us as much; more is granted as bytes are consumed, so neither side can be made to buffer more (A5).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "agent.h"

typedef struct {
  uint32_t id;
  int fd;                   /* -1: free slot */
  uint32_t credit;          /* bytes we may still send to the manager */
  bool read_done;           /* the hand's end was read to its end */
  bool write_done;          /* the manager said EOF; shut down once the buffer is out */
  uint8_t *buf;             /* CONN_WINDOW bytes on their way into the hand */
  size_t from, to;
} connection;

static connection conns[MAX_CONNECTIONS];
static int listener = -1;
static uint32_t next_id = 1;

bool tunnel_listen(uint16_t port) {
  for (int i = 0; i < MAX_CONNECTIONS; i++) conns[i].fd = -1;
  if (port == 0) return true;
  struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  int one = 1;
  listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (listener < 0) return false;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  return bind(listener, (struct sockaddr *)&where, sizeof where) == 0 && listen(listener, 32) == 0;
}

static connection *find(uint32_t id) {
  for (int i = 0; i < MAX_CONNECTIONS; i++)
    if (conns[i].fd >= 0 && conns[i].id == id) return &conns[i];
  return NULL;
}

static void tell(uint8_t type, uint32_t id) {
  writer w;
  frame_begin(&w, type, epoch, id);
  frame_send(&w);
}

static void drop(connection *c, bool reset) {
  if (reset) {
    struct linger now = {1, 0};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  }
  close(c->fd);
  free(c->buf);
  memset(c, 0, sizeof *c);
  c->fd = -1;
}

static void drop_if_done(connection *c) {
  if (!c->read_done || !c->write_done || c->from < c->to) return;
  tell(F_CLOSED, c->id);
  drop(c, false);
}

static void accept_one(void) {
  int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return;
  for (int i = 0; i < MAX_CONNECTIONS && epoch > 0; i++) {
    connection *c = &conns[i];
    if (c->fd >= 0) continue;
    uint8_t *buf = malloc(CONN_WINDOW);
    if (!buf) break;
    *c = (connection){.id = next_id++, .fd = fd, .credit = CONN_WINDOW, .buf = buf};
    tell(F_OPENED, c->id);
    return;
  }
  close(fd); /* no manager yet, or too many at once */
}

/* Into the hand: as much as its socket takes; what was taken is granted anew. */
static void push(connection *c) {
  size_t before = c->from;
  while (c->from < c->to) {
    ssize_t n = send(c->fd, c->buf + c->from, c->to - c->from, MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN) break;
    if (n <= 0) {
      tell(F_CLOSED, c->id);
      drop(c, true);
      return;
    }
    c->from += (size_t)n;
  }
  size_t taken = c->from - before;
  if (c->from == c->to) c->from = c->to = 0;
  if (taken > 0) {
    writer w;
    frame_begin(&w, F_GRANTED, epoch, c->id);
    put_u32(&w, (uint32_t)taken);
    frame_send(&w);
  }
  if (c->write_done && c->from == c->to) shutdown(c->fd, SHUT_WR);
  drop_if_done(c);
}

/* Out of the hand: as much as the manager granted. */
static void pull(connection *c) {
  static uint8_t buf[DATA_CHUNK];
  size_t cap = c->credit < sizeof buf ? c->credit : sizeof buf;
  ssize_t n = recv(c->fd, buf, cap, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n < 0) {
    tell(F_CLOSED, c->id);
    drop(c, true);
    return;
  }
  if (n == 0) {
    c->read_done = true;
    tell(F_EOF, c->id);
    drop_if_done(c);
    return;
  }
  c->credit -= (uint32_t)n;
  writer w;
  frame_begin(&w, F_DATA, epoch, c->id);
  put_bytes(&w, buf, (size_t)n);
  frame_send(&w);
}

void tunnel_data(uint32_t id, reader *r) {
  size_t len;
  const uint8_t *data = get_bytes(r, &len);
  connection *c = find(id);
  if (!c || !data || c->write_done) return; /* closed meanwhile on our side; the manager has been told */
  if (CONN_WINDOW - c->to < len && c->from > 0) {
    memmove(c->buf, c->buf + c->from, c->to - c->from);
    c->to -= c->from;
    c->from = 0;
  }
  if (CONN_WINDOW - c->to < len) { /* more than was granted */
    tell(F_CLOSED, id);
    drop(c, true);
    return;
  }
  memcpy(c->buf + c->to, data, len);
  c->to += len;
  push(c);
}

void tunnel_eof(uint32_t id) {
  connection *c = find(id);
  if (!c) return;
  c->write_done = true;
  push(c);
}

void tunnel_close(uint32_t id) {
  connection *c = find(id);
  if (c) drop(c, true);
}

void tunnel_credit(uint32_t id, reader *r) {
  uint32_t more = get_u32(r);
  connection *c = find(id);
  if (c && more <= CONN_WINDOW - c->credit) c->credit += more;
}

void tunnel_clear(void) {
  for (int i = 0; i < MAX_CONNECTIONS; i++)
    if (conns[i].fd >= 0) drop(&conns[i], true);
}

int tunnel_polls(struct pollfd *into) {
  bool room = out_pending() < OUT_BULK_MARK;
  into[0] = (struct pollfd){listener, POLLIN, 0};
  for (int i = 0; i < MAX_CONNECTIONS; i++) {
    connection *c = &conns[i];
    short want = 0;
    if (c->fd >= 0 && room && c->credit > 0 && !c->read_done) want |= POLLIN;
    if (c->fd >= 0 && c->from < c->to) want |= POLLOUT;
    into[i + 1] = (struct pollfd){want ? c->fd : -1, want, 0};
  }
  return MAX_CONNECTIONS + 1;
}

void tunnel_events(const struct pollfd *from, int n) {
  for (int i = 1; i < n; i++) {
    connection *c = &conns[i - 1];
    if (from[i].revents == 0 || c->fd != from[i].fd) continue;
    if (from[i].events & POLLOUT && from[i].revents & (POLLOUT | POLLERR | POLLHUP)) push(c);
    if (c->fd == from[i].fd && from[i].events & POLLIN && out_pending() < OUT_BULK_MARK) pull(c);
  }
  if (n > 0 && from[0].revents & POLLIN) accept_one();
}
