/* The version of both programs. */
#ifndef COMMON_VERSION_H
#define COMMON_VERSION_H

#define HEALTH_VERSION "0.2.0"

#endif
