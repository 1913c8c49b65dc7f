/* The standard descriptors, at the start of a program. */
#ifndef COMMON_DESCRIPTOR_H
#define COMMON_DESCRIPTOR_H

/* Descriptors that a program holds for good: standard input, output and error. */
#define STANDARD_FDS 3

/* Descriptors 0 to 2 exist from here on (/dev/null where one was closed), so that no socket ever gets one of
 * their numbers. */
void descriptor_open_standard(void);

#endif
