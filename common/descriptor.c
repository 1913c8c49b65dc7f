/* Opens the standard descriptors that are closed. Main thread; they stay open for the life of the process. */
#include "common/descriptor.h"

#include <fcntl.h>
#include <unistd.h>

void descriptor_open_standard(int flags)
{
    int fd;
    do {
        fd = open("/dev/null", flags);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}
