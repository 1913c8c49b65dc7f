/* Opens the standard descriptors at the start of a program. */
#ifndef COMMON_DESCRIPTOR_H
#define COMMON_DESCRIPTOR_H

/* Descriptors that stay open: standard input, output and error. */
#define STANDARD_FDS 3

/* Makes sure that descriptors 0 to 2 are open, with /dev/null where one was closed. Otherwise a socket
 * could get one of these numbers. flags are for open(2): with O_RDWR nobody misses what the program prints to
 * a closed descriptor; with O_RDONLY that is an error. */
void descriptor_open_standard(int flags);

#endif
