/*
 * The system calls of a hand whose engine does not filter them: the same list as the container's profile. The names
 * come from src/drivers/docker/seccomp-profile.ts (build.mjs writes them down as allowed-syscalls.h), so there is
 * one list. What is not on it answers EPERM; clone3 answers ENOSYS, so that libc takes clone, whose flags can be seen.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include "agent.h"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#define X32_BIT 0x40000000u
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#define X32_BIT 0xffffffffu
#else
#error "the filter knows x86-64 and arm64"
#endif

#define NAMESPACES 0x7e020000u /* all CLONE_NEW* */
#define ERRNO(e) (SECCOMP_RET_ERRNO | (e))
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (field))
#define NUMBER offsetof(struct seccomp_data, nr)
#define ARGUMENT(n) (offsetof(struct seccomp_data, args) + 8 * (n)) /* its low half; both machines are little-endian */
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, (value))
#define EQUAL(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (yes), (no))

static const int allowed[] = {
#include "allowed-syscalls.h"
};

#define COUNT (sizeof allowed / sizeof allowed[0])

bool filter_install(void) {
  static struct sock_filter code[64 + 2 * COUNT];
  unsigned short n = 0;
  const struct sock_filter head[] = {
      LOAD(offsetof(struct seccomp_data, arch)), EQUAL(ARCH, 1, 0), RETURN(SECCOMP_RET_KILL_PROCESS),
      LOAD(NUMBER), BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1), RETURN(ERRNO(EPERM)),
#ifdef SYS_clone3
      EQUAL(SYS_clone3, 0, 1), RETURN(ERRNO(ENOSYS)),
#endif
      EQUAL(SYS_clone, 0, 4), LOAD(ARGUMENT(0)), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, NAMESPACES, 0, 1),
      RETURN(ERRNO(EPERM)), RETURN(SECCOMP_RET_ALLOW),
      EQUAL(SYS_personality, 0, 5), LOAD(ARGUMENT(0)), EQUAL(0, 2, 0), EQUAL(0xffffffffu, 1, 0), RETURN(ERRNO(EPERM)),
      RETURN(SECCOMP_RET_ALLOW),
      EQUAL(SYS_socket, 0, 9), LOAD(ARGUMENT(0)), EQUAL(AF_UNIX, 6, 0), EQUAL(AF_INET, 5, 0), EQUAL(AF_INET6, 4, 0),
      EQUAL(AF_NETLINK, 0, 2), LOAD(ARGUMENT(2)), EQUAL(0, 1, 0), RETURN(ERRNO(EPERM)), RETURN(SECCOMP_RET_ALLOW),
  };
  for (size_t i = 0; i < sizeof head / sizeof head[0]; i++) code[n++] = head[i];
  for (size_t i = 0; i < COUNT; i++) {
    code[n++] = (struct sock_filter)EQUAL((unsigned)allowed[i], 0, 1);
    code[n++] = (struct sock_filter)RETURN(SECCOMP_RET_ALLOW);
  }
  code[n++] = (struct sock_filter)RETURN(ERRNO(EPERM));
  struct sock_fprog program = {n, code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}
