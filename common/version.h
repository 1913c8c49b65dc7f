/* The version of both programs. */
#ifndef COMMON_VERSION_H
#define COMMON_VERSION_H

#define HEALTH_VERSION "0.3.0"

#endif
