"""Attacks that use things up. Every amount has a bound that the machine outside can bear: it is what a hand must not get."""
import errno, gzip, mmap, os, resource, signal, socket, sys, threading, time, zipfile

MIB = 1 << 20


def escaped(text): print("ESCAPED", text, flush=True)
def blocked(text): print("BLOCKED", text, flush=True)


def processes(most):
    made = []
    try:
        while len(made) < int(most):
            pid = os.fork()
            if pid == 0:
                signal.pause()
                os._exit(0)
            made.append(pid)
        escaped(f"{len(made)} processes")
    except OSError as error: blocked(f"refused after {len(made)}: {errno.errorcode[error.errno]}")
    finally:
        for pid in made: os.kill(pid, signal.SIGKILL)
        for pid in made: os.waitpid(pid, 0)
def threads(most):
    done = threading.Event()
    made = 0
    threading.stack_size(128 * 1024)
    try:
        while made < int(most):
            threading.Thread(target=done.wait, daemon=True).start()
            made += 1
        escaped(f"{made} threads")
    except RuntimeError as error: blocked(f"refused after {made}: {error}")
    finally: done.set()
def memory(mib):
    kept = []
    try:
        for _ in range(int(mib) // 8): kept.append(bytearray(b"x") * (8 * MIB))
        escaped(f"{len(kept) * 8} MiB")
    except MemoryError: blocked(f"refused after {len(kept) * 8} MiB")
def memory_files(mib):
    fd = os.memfd_create("mh")
    done = 0
    try:
        while done < int(mib): done += os.write(fd, b"x" * MIB) // MIB
        escaped(f"{done} MiB in a memfd")
    except OSError as error: blocked(f"refused after {done} MiB: {errno.errorcode[error.errno]}")
def fill(folder, mib):
    path, done = f"{folder}/mh-fill", 0
    try:
        with open(path, "wb", 0) as file:
            while done < int(mib): done += file.write(b"x" * MIB) / MIB
        escaped(f"{int(done)} MiB in {folder}")
    except OSError as error: blocked(f"{folder} refused after {int(done)} MiB: {errno.errorcode[error.errno]}")
    finally:
        if os.path.exists(path): os.unlink(path)
def inodes(folder, most):
    made = 0
    os.makedirs(f"{folder}/mh-inodes", exist_ok=True)
    try:
        while made < int(most):
            os.close(os.open(f"{folder}/mh-inodes/{made}", os.O_CREAT | os.O_WRONLY))
            made += 1
        escaped(f"{made} files in {folder}")
    except OSError as error: blocked(f"refused after {made} files: {errno.errorcode[error.errno]}")
    finally:
        for i in range(made): os.unlink(f"{folder}/mh-inodes/{i}")
def depth(folder, most):
    """Deep folders: a tool that lists them must come to an end."""
    os.chdir(folder)
    made = 0
    try:
        while made < int(most):
            os.mkdir("d")
            os.chdir("d")
            made += 1
    except OSError: pass
    print(f"{made} deep")
def files(most):
    kept = []
    try:
        while len(kept) < int(most): kept.append(os.open("/dev/null", os.O_RDONLY))
        escaped(f"{len(kept)} open files")
    except OSError as error: blocked(f"refused after {len(kept)}: {errno.errorcode[error.errno]}")
def raise_limits():
    for name, value in (("RLIMIT_NOFILE", 8192), ("RLIMIT_CORE", 1 << 20)):
        try:
            resource.setrlimit(getattr(resource, name), (value, value))
            escaped(f"{name} raised")
        except (ValueError, OSError): blocked(f"{name} cannot be raised")
def gzip_bomb(folder, mib):
    """A small archive of that many MiB of zeros, unpacked as a careless program would."""
    path = f"{folder}/mh-bomb.gz"
    with gzip.open(path, "wb", 1) as bomb:
        for _ in range(int(mib)): bomb.write(bytes(MIB))
    done = 0
    try:
        with gzip.open(path) as source, open(f"{folder}/mh-unpacked", "wb", 0) as target:
            while chunk := source.read(MIB): done += target.write(chunk)
        escaped(f"{done // MIB} MiB from {os.path.getsize(path)} bytes")
    except OSError as error: blocked(f"{errno.errorcode.get(error.errno, error)} after {done // MIB} MiB from {os.path.getsize(path)} bytes")
    finally:
        for name in (path, f"{folder}/mh-unpacked"):
            if os.path.exists(name): os.unlink(name)
def lying_zip(folder, mib):
    """Names that climb, in an archive; extracted by the ordinary tool, and by one that trusts names."""
    path, outside = f"{folder}/mh.zip", f"/mh-outside-{os.getpid()}"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive: archive.writestr("../" * 12 + outside[1:], "x" * int(mib))
    with zipfile.ZipFile(path) as archive:
        for item in archive.infolist():
            try:
                with open(os.path.join(folder, item.filename), "wb") as target: target.write(archive.read(item))
            except OSError as error: blocked(f"{item.filename}: {errno.errorcode[error.errno]}")
    if os.path.exists(outside):
        escaped(f"{outside} was written")
        os.unlink(outside)
