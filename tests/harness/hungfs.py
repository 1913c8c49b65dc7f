"""A file system that hangs like one on a lost network: it is FUSE, and no process answers for it."""
import ctypes
import os

MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


class HungFilesystem:
    """Every access to path waits until release(), and fails after that. Raises OSError if this user may not mount."""

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
