"""A cable that delays and loses packets: two tun devices in two network namespaces, and this between them.

Arguments: the ids of two processes, one in each namespace. Lines of standard input change the cable at once:
LOSS (0 to 1) and DELAY (seconds, of each direction). It says "ready", and ends when standard input does.
"""

import ctypes
import fcntl
import heapq
import os
import random
import selectors
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
CLONE_NEWNET = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)


def tun(pid):
    """The device `lossy0` of the namespace in which this process is."""
    with open(f"/proc/{pid}/ns/net") as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"lossy0", IFF_TUN | IFF_NO_PI))
    return device


def main():
    left, right = (tun(pid) for pid in sys.argv[1:3])
    other = {left: right, right: left}
    loss, delay = 0.0, 0.0
    waiting, count, line = [], 0, b""
    looks = selectors.DefaultSelector()
    for descriptor in (left, right, 0):
        looks.register(descriptor, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        wait = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for key, _ in looks.select(wait):
            if key.fd == 0:
                piece = os.read(0, 4096)
                if not piece:
                    return
                *lines, line = (line + piece).split(b"\n")
                for words in lines:
                    loss, delay = (float(word) for word in words.split())
                continue
            try:
                packet = os.read(key.fd, 65536)
            except OSError:
                # The device is down.
                continue
            if random.random() >= loss:
                count += 1
                heapq.heappush(waiting, (time.monotonic() + delay, count, other[key.fd], packet))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, to, packet = heapq.heappop(waiting)
            try:
                os.write(to, packet)
            except OSError:
                # The device is down.
                pass


main()
