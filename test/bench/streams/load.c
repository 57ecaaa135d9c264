/* Load for the benchmark of streams: clients and upstreams that cost as little as the kernel allows, so that what is measured is what stands
 * between them. Payload is sent from a buffer that stays in the processor's cache, and thrown away in the kernel (MSG_TRUNC).
 *
 *   load upstream PORT                          TCP: does what the first byte of a connection asks for; UDP: echoes
 *   load bulk PORT up|down CONNECTIONS SECONDS  bytes a second
 *   load connect PORT CONNECTIONS SECONDS FILE  connections a second; each sends the file, gets an answer and the end
 *   load idle PORT CONNECTIONS                  opens them, says "ready", keeps them until its input ends
 *   load echo PORT FLOWS WINDOW BYTES SECONDS   UDP round trips a second, WINDOW datagrams under way for each flow
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, PIECE = 256 * 1024, TURN_BYTES = 1 << 20, BATCH = 64, DATAGRAM = 2048, ANSWER = 64, WARM_MS = 500 };

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static struct sockaddr_in loopback(int port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return to;
}

static int poller;
static char payload[PIECE];

static void watch(int fd, uint32_t events, int op) {
  struct epoll_event event = {.events = events, .data.fd = fd};
  if (epoll_ctl(poller, op, fd, &event) < 0) fail("epoll_ctl");
}

/* Each 200 connections have an address of their own, so that limits for one address are not met. */
static int dial(int port, int index) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (fd < 0) fail("socket");
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(fd, IPPROTO_IP, 24 /* IP_BIND_ADDRESS_NO_PORT */, &one, sizeof one);
  struct sockaddr_in from = {.sin_family = AF_INET};
  from.sin_addr.s_addr = htonl(0x7f010001 + index / 200);
  if (bind(fd, (void *)&from, sizeof from) < 0) fail("bind");
  struct sockaddr_in to = loopback(port);
  if (connect(fd, (void *)&to, sizeof to) < 0 && errno != EINPROGRESS) fail("connect");
  return fd;
}

/* What is there is thrown away in the kernel; -1 at the end. */
static int64_t drain(int fd) {
  int64_t total = 0;
  while (total < TURN_BYTES) {
    ssize_t got = recv(fd, NULL, TURN_BYTES, MSG_TRUNC);
    if (got > 0) total += got;
    else if (got < 0 && errno == EAGAIN) break;
    else return total > 0 ? total : -1;
  }
  return total;
}

static int64_t fill(int fd) {
  int64_t total = 0;
  while (total < TURN_BYTES) {
    ssize_t sent = send(fd, payload, PIECE, MSG_NOSIGNAL);
    if (sent > 0) total += sent;
    else if (sent < 0 && errno == EAGAIN) break;
    else return -1;
  }
  return total;
}

/* Bound to the port where `flow` is -1; else one of a client, of which each address has 32. */
static int udp_socket(int port, int flow) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  int size = 8 << 20;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  struct sockaddr_in address = loopback(port), from = {.sin_family = AF_INET};
  from.sin_addr.s_addr = htonl(0x7f020001 + flow / 32);
  if (flow >= 0 && bind(fd, (void *)&from, sizeof from) < 0) fail("bind");
  if ((flow < 0 ? bind : connect)(fd, (void *)&address, sizeof address) < 0) fail("udp");
  return fd;
}

static struct mmsghdr batch[BATCH];
static struct iovec vectors[BATCH];
static struct sockaddr_in names[BATCH];
static char bytes[BATCH][DATAGRAM];

static void prepare(int named) {
  for (int i = 0; i < BATCH; i++) {
    vectors[i] = (struct iovec){bytes[i], DATAGRAM};
    batch[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
    if (named) batch[i].msg_hdr.msg_name = &names[i], batch[i].msg_hdr.msg_namelen = sizeof names[i];
  }
}

static void echo_back(int fd) {
  for (;;) {
    prepare(1);
    int count = recvmmsg(fd, batch, BATCH, 0, NULL);
    if (count <= 0) return;
    for (int i = 0; i < count; i++) vectors[i].iov_len = batch[i].msg_len;
    sendmmsg(fd, batch, count, 0);
    if (count < BATCH) return;
  }
}

static void upstream(int port) {
  static char kind[1 << 17];
  char answer[ANSWER] = "answer";
  int tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
  setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in address = loopback(port);
  if (bind(tcp, (void *)&address, sizeof address) < 0 || listen(tcp, 4096) < 0) fail("listen");
  int udp = udp_socket(port, -1);
  watch(tcp, EPOLLIN, EPOLL_CTL_ADD);
  watch(udp, EPOLLIN, EPOLL_CTL_ADD);
  puts("ready");
  fflush(stdout);
  for (;;) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(poller, events, EVENTS, -1);
    for (int i = 0; i < count; i++) {
      int fd = events[i].data.fd;
      if (fd == udp) echo_back(udp);
      else if (fd == tcp) {
        for (int made; (made = accept4(tcp, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
          kind[made] = 0;
          watch(made, EPOLLIN, EPOLL_CTL_ADD);
        }
      } else {
        int over = 0;
        if (kind[fd] == 0) {
          ssize_t got = recv(fd, bytes, sizeof bytes, 0);
          kind[fd] = got > 0 ? bytes[0][0] : 0;
          if (got <= 0) over = got == 0 || errno != EAGAIN;
          else if (kind[fd] == 'D') watch(fd, EPOLLOUT, EPOLL_CTL_MOD);
          else if (kind[fd] == 'I') over = send(fd, answer, ANSWER, 0) != ANSWER;
          else if (kind[fd] != 'U') over = send(fd, answer, ANSWER, 0) != ANSWER || 1;
        } else over = kind[fd] == 'D' ? fill(fd) < 0 : drain(fd) < 0;
        if (over) close(fd);
      }
    }
  }
}

static void bulk(int port, int down, int connections, int seconds) {
  for (int i = 0; i < connections; i++) {
    int fd = dial(port, i);
    watch(fd, EPOLLOUT, EPOLL_CTL_ADD);
  }
  static char begun[1 << 17];
  int64_t start = now_ms() + WARM_MS, end = start + seconds * 1000, total = 0;
  for (int64_t now = now_ms(); now < end; now = now_ms()) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(poller, events, EVENTS, 100);
    for (int i = 0; i < count; i++) {
      int fd = events[i].data.fd;
      if (!begun[fd]) {
        if (send(fd, down ? "D" : "U", 1, 0) != 1) fail("send");
        begun[fd] = 1;
        if (down) watch(fd, EPOLLIN, EPOLL_CTL_MOD);
        continue;
      }
      int64_t moved = down ? drain(fd) : fill(fd);
      if (moved < 0) fail("the other side has ended");
      if (now >= start) total += moved;
    }
  }
  printf("%f\n", (double)total / seconds);
}

static void connections(int port, int together, int seconds, const char *file) {
  static char first[4096];
  int source = open(file, O_RDONLY);
  ssize_t length = read(source, first, sizeof first);
  if (length <= 0) fail(file);
  for (int i = 0; i < together; i++) watch(dial(port, i), EPOLLOUT, EPOLL_CTL_ADD);
  int64_t start = now_ms() + WARM_MS, end = start + seconds * 1000, done = 0, failed = 0;
  int next = 0;
  for (int64_t now = now_ms(); now < end; now = now_ms()) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(poller, events, EVENTS, 100);
    for (int i = 0; i < count; i++) {
      int fd = events[i].data.fd, over = 0;
      if (events[i].events & EPOLLOUT) {
        if (send(fd, first, length, MSG_NOSIGNAL) == length) watch(fd, EPOLLIN, EPOLL_CTL_MOD);
        else over = -1;
      } else {
        char answer[ANSWER * 2];
        ssize_t got = recv(fd, answer, sizeof answer, 0);
        if (got == 0) over = 1;
        if (got < 0 && errno != EAGAIN) over = -1;
      }
      if (over == 0) continue;
      close(fd);
      if (over < 0) failed++;
      else if (now >= start) done++;
      watch(dial(port, next++ % together), EPOLLOUT, EPOLL_CTL_ADD);
    }
  }
  if (failed > 0) fprintf(stderr, "%lld connections failed\n", (long long)failed), exit(1);
  printf("%f\n", (double)done / seconds);
}

static void idle(int port, int count) {
  for (int i = 0; i < count; i++) {
    int fd = dial(port, i);
    int flags = fcntl(fd, F_GETFL);
    fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
    char answer[ANSWER];
    if (send(fd, "I", 1, 0) != 1 || recv(fd, answer, sizeof answer, 0) <= 0) fail("idle");
  }
  puts("ready");
  fflush(stdout);
  char byte;
  while (read(0, &byte, 1) > 0) continue;
}

static void echo(int port, int flows, int window, int size, int seconds) {
  static int64_t heard[1 << 17];
  int fds[flows];
  for (int i = 0; i < flows; i++) {
    fds[i] = udp_socket(port, i);
    watch(fds[i], EPOLLIN, EPOLL_CTL_ADD);
  }
  int64_t start = now_ms() + WARM_MS, end = start + seconds * 1000, done = 0, lost = 0, looked = 0;
  for (int64_t now = now_ms(); now < end; now = now_ms()) {
    /* What has not come back within 50 ms is lost. */
    for (int i = 0; now - looked > 10 && i < flows; i++) {
      int fd = fds[i];
      if (now - heard[fd] > 50) {
        if (now >= start) lost += window;
        prepare(0);
        for (int j = 0; j < window; j++) vectors[j].iov_len = size;
        sendmmsg(fd, batch, window, 0);
        heard[fd] = now;
      }
    }
    if (now - looked > 10) looked = now;
    struct epoll_event events[EVENTS];
    int count = epoll_wait(poller, events, EVENTS, 20);
    for (int i = 0; i < count; i++) {
      int fd = events[i].data.fd;
      prepare(0);
      int got = recvmmsg(fd, batch, BATCH, 0, NULL);
      if (got <= 0) continue;
      if (now >= start) done += got;
      heard[fd] = now;
      for (int j = 0; j < got; j++) vectors[j].iov_len = size;
      sendmmsg(fd, batch, got, 0);
    }
  }
  if (getenv("LOAD_LOST")) fprintf(stderr, "lost about %lld\n", (long long)lost);
  printf("%f\n", (double)done / seconds);
}

int main(int count, char **args) {
  signal(SIGPIPE, SIG_IGN);
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  poller = epoll_create1(0);
  const char *what = count > 2 ? args[1] : "";
  int port = count > 2 ? atoi(args[2]) : 0;
  if (!strcmp(what, "upstream")) upstream(port);
  else if (!strcmp(what, "bulk") && count == 6) bulk(port, args[3][0] == 'd', atoi(args[4]), atoi(args[5]));
  else if (!strcmp(what, "connect") && count == 6) connections(port, atoi(args[3]), atoi(args[4]), args[5]);
  else if (!strcmp(what, "idle") && count == 4) idle(port, atoi(args[3]));
  else if (!strcmp(what, "echo") && count == 7 && atoi(args[4]) <= BATCH)
    echo(port, atoi(args[3]), atoi(args[4]), atoi(args[5]), atoi(args[6]));
  else return fprintf(stderr, "see the head of load.c\n"), 2;
  return 0;
}
