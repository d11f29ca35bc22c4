import { EVERYTHING, undefended } from "../control.ts";
import type { Probe } from "../probe.ts";

/** One that is a function of `inside.py` on both sides. */
function inside(name: string, attack: readonly string[], more: Partial<Probe> & { options?: readonly string[] } = {}) {
  const { options = [...EVERYTHING, "--network", "none"], ...rest } = more;
  const probe: Probe = {
    name,
    attack: (target) => target.attacker.python(attack),
    control: () => undefended(options, attack),
    ...rest,
  };
  return probe;
}

/** Privileges that a hand must not have, and ways into the kernel that it must not be able to try. */
export const kernelProbes: readonly Probe[] = [
  inside("capabilities held", ["capabilities"], { fast: true }),
  inside("become root", ["become_root"]),
  inside("setuid program", ["setuid_program"], {
    fast: true,
    options: ["--user", "65532:65532", "--network", "none"],
  }),
  inside("file capabilities", ["file_caps"]),
  inside("device node", ["mknod"]),
  inside("chroot", ["chroot"]),
  inside("mount", ["mount"], { fast: true }),
  inside("new mount interface", ["fsopen"]),
  inside("pivot_root", ["pivot_root"]),
  inside("namespaces by unshare", ["namespaces"], { fast: true }),
  inside("user namespace by clone3", ["clone3"]),
  inside("namespaces of process 1", ["setns"]),
  inside("host name", ["sethostname"]),
  inside("bpf", ["bpf"]),
  inside("perf events", ["perf"]),
  inside("kernel keyring", ["keyring"]),
  inside("userfaultfd", ["userfaultfd"]),
  inside("open by handle (shocker)", ["shocker"]),
  inside("io_uring", ["io_uring"], { fast: true }),
  inside("personality without address randomisation", ["personality"]),
  inside("modify_ldt", ["modify_ldt"]),
  inside("swap", ["swapon"]),
  inside("packet and raw sockets", ["sockets", "packet", "raw"]),
  inside("vsock and netfilter sockets", ["sockets", "vsock", "netfilter"], { fast: true }),
  inside("kernel log", ["dmesg"]),
  inside("kernel addresses", ["kallsyms"]),
  inside("kernel settings and release_agent", ["kernel_settings"], {
    options: [...EVERYTHING, "-v", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "--network", "none"],
  }),
  inside("own limits in the control group", ["limits_of_cgroup"], {
    options: [...EVERYTHING, "-v", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "--network", "none"],
  }),
  inside("devices of the host", ["devices"], {
    options: [...EVERYTHING, "--device", "/dev/loop0", "--device", "/dev/kvm", "--network", "none"].filter(
      (word, at, all) => ![word, all[at + 1]].includes("/dev/kvm"),
    ),
  }),
];
