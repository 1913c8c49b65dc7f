"""A file system that hangs as one of the network does: FUSE, and nobody who answers."""
import ctypes
import os

MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


class HungFilesystem:
    """Whatever is asked of path waits until release(), and fails from then on. OSError where mounting is not allowed."""

    def __init__(self, path):
        self.path = path
        os.mkdir(path)
        self._fd = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self._fd},rootmode=40000,user_id=0,group_id=0,allow_other"
        if _libc.mount(b"hung", os.fsencode(path), b"fuse", 0, options.encode()) != 0:
            error = ctypes.get_errno()
            os.close(self._fd)
            raise OSError(error, os.strerror(error), path)

    def release(self):
        if self._fd >= 0:
            os.close(self._fd)
            _libc.umount2(os.fsencode(self.path), MNT_DETACH)
            self._fd = -1
