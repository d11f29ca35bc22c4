#!/usr/bin/env python3
"""Takes the power from a mounted ext4 or XFS file system: what is not on the disk yet is gone, at once.

Usage: power-cut.py MOUNTPOINT

Asks the kernel to shut the file system down without flushing its data or its journal (the "no log flush" mode of the
shutdown ioctl that file system tests use). Everything fails with an I/O error from then on until it is unmounted;
mounting it again replays the journal, as a machine does when its power comes back. Needs root.
"""
import fcntl
import os
import struct
import sys

# _IOR('X', 125, __u32): direction "read" (2), size of the argument, type letter, number. See FS_IOC_SHUTDOWN.
SHUTDOWN = (2 << 30) | (struct.calcsize("I") << 16) | (ord("X") << 8) | 125
WITHOUT_LOG_FLUSH = 2


def main(arguments):
    if len(arguments) != 1:
        sys.exit(__doc__)
    mountpoint = arguments[0]
    if not os.path.ismount(mountpoint):
        sys.exit(f"{mountpoint}: is not a mount point; refusing to shut down the file system it lies on")
    descriptor = os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", WITHOUT_LOG_FLUSH))
    finally:
        os.close(descriptor)


main(sys.argv[1:])
